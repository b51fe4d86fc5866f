"""Exponential moving average of a model's weights, as the reference's EMA section describes it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn


class ExponentialMovingAverage:
    """average = d · average + (1 - d) · weight after every optimizer step, over the whole state (buffers
    included).

    With `warmup`, d = min(decay, (1 + n) / (10 + n)) at step n (the rule of TensorFlow's
    ExponentialMovingAverage), so that a short run does not keep its random start; the reference has none, and
    it is off by default. Integer buffers are copied.
    """

    def __init__(self, model: nn.Module, decay: float = 0.9999, warmup: bool = False) -> None:
        self.decay, self.warmup, self.steps = decay, warmup, 0
        self.average = {name: value.detach().clone() for name, value in model.state_dict().items()}

    def go_on(self, average: dict[str, Tensor] | None, steps: int) -> None:
        """Go on from the average of a checkpoint; without one, the weights of the model are the start."""
        if average is not None:
            for name, value in average.items():
                self.average[name].copy_(value)
            self.steps = steps

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take the weights of the model into the average."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps)) if self.warmup else self.decay
        self.steps += 1
        averaged: list[Tensor] = []
        current: list[Tensor] = []
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                averaged.append(self.average[name])
                current.append(value.detach())
            else:
                self.average[name].copy_(value)
        torch._foreach_lerp_(averaged, current, 1.0 - decay)

    @contextlib.contextmanager
    def applied_to(self, model: nn.Module) -> Iterator[None]:
        """The model with averaged weights inside the block, with its own again after it."""
        own = {name: value.detach().clone() for name, value in model.state_dict().items()}
        model.load_state_dict(self.average)
        try:
            yield
        finally:
            model.load_state_dict(own)
