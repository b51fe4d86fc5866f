"""Norms that a meta-learning loop steers: which statistics they use, and gates that hold for one pass only.

MetaBIN learns, channel by channel, how much of batch norm and how much of instance norm generalises to unseen
domains. Its loop has three kinds of passes, for which this module is the one place to turn:

    set_mode(model, "general")                        # ordinary pass: running statistics move
    set_mode(model, "hold")                           # meta-train: the batch's own statistics, nothing moves
    losses = meta_train_loss(model(images, labels))
    own = gates(model)
    inner = torch.autograd.grad(losses, list(own.values()))
    with using_gates(model, stepped_gates(own, inner, rate)):
        losses = meta_test_loss(model(others, labels))  # meta-test: as if the gates had made that step
        losses.backward()                               # reaches the gates themselves, through the step
    gate_optimizer.step()
    clip_gates(model)
    set_mode(model, "general")

Layers whose statistics are set are `ModalNorm`s (`MetaBIN` in the backbone, `MetaBNNeck`); the gates are
parameters of the `Gate`s inside `MetaBIN`, so an optimizer finds them as modules named `gate`. What is set
acts on the model itself, and so through whatever wraps it (data parallelism, compilation).
Source: Choi et al., Meta Batch-Instance Normalization for Generalizable Person Re-Identification, CVPR 2021,
https://arxiv.org/abs/2011.14670.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lookalike.core.errors import UserError

StatisticsMode = Literal["general", "hold", "eval"]


class ModalNorm(nn.Module, ABC):
    """A layer around one batch norm, whose use of statistics in training is set by `set_mode`.

    `general`: normalise by the batch and move the running statistics, as any batch norm does. `hold`:
    normalise by the batch, the running statistics stay. `eval`: normalise by the running statistics, which
    stay. At evaluation all three do the last.
    """

    mode: StatisticsMode = "general"

    @property
    @abstractmethod
    def steered(self) -> _BatchNorm:
        """The batch norm inside."""

    def set_mode(self, mode: StatisticsMode) -> None:
        """Say which statistics the next passes in training use and move."""
        self.mode = mode
        # one that tracks nothing uses the batch in training, and at eval its buffers, which are there
        self.steered.track_running_stats = mode == "general"

    def batch_normalised(self, x: Tensor) -> Tensor:
        """Batch norm of the input, by the statistics of the mode."""
        norm = self.steered
        if self.mode == "eval":
            return F.batch_norm(
                x, norm.running_mean, norm.running_var, norm.weight, norm.bias, False, eps=norm.eps
            )
        return norm(x)  # type: ignore[no-any-return]


class Gate(nn.Module):
    """The share of batch norm in each channel, in 0 … 1; it starts at 1. `updated` stands in for it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = nn.Parameter(torch.ones(channels))
        self.updated: Tensor | None = None

    def forward(self) -> Tensor:
        gate = self.gate if self.updated is None else self.updated
        clipped = gate.clamp(0.0, 1.0)
        if not self.training:
            return clipped
        # a share past its bound is used as the bound, but keeps its gradient, so that it can come back
        return gate + (clipped - gate).detach()

    @torch.no_grad()
    def clip(self) -> None:
        """Bring the shares themselves back into 0 … 1, as is done after each step of their optimizer."""
        self.gate.clamp_(0.0, 1.0)


class MetaBIN(ModalNorm):
    """y = g * BN(x) + (1 - g) * IN(x), a gate g for each channel. (N, C, H, W) → the same."""

    plain_layer = "batch_norm"  # what the weights of a network without gates fill
    reference_keys = staticmethod(lambda key: key.replace("instance_norm.weight", "instance_norm.scale"))

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.batch_norm = nn.BatchNorm2d(channels)
        self.instance_norm = nn.InstanceNorm2d(channels, affine=True)
        self.gate = Gate(channels)

    @property
    def steered(self) -> _BatchNorm:
        return self.batch_norm

    def forward(self, x: Tensor) -> Tensor:
        gate = self.gate()[:, None, None]
        mixed: Tensor = gate * self.batch_normalised(x) + (1.0 - gate) * self.instance_norm(x)
        return mixed


def set_mode(model: nn.Module, mode: StatisticsMode) -> None:
    """Set the mode of every `ModalNorm` of a model. Raises UserError where it has none."""
    found = [part for part in model.modules() if isinstance(part, ModalNorm)]
    if not found:
        raise UserError(
            "meta-learning needs norms whose statistics can be held, such as those of ResNet50_metabin and "
            "MetaBNNeck: the model has none"
        )
    for part in found:
        part.set_mode(mode)


def gates(model: nn.Module) -> dict[str, nn.Parameter]:
    """The gates of a model, by their names among its parameters."""
    return {f"{name}.gate" if name else "gate": part.gate for name, part in _gates(model)}


def stepped_gates(
    current: Mapping[str, nn.Parameter], gradients: Sequence[Tensor], learning_rate: float
) -> dict[str, Tensor]:
    """The gates after one step of gradient descent, which stay functions of the gates before it.

    g' = g - learning_rate * lr_multiplier * dL/dg; `gradients` in the order of `current`. With gradients made
    by `create_graph` the outer gradient is exact, otherwise of first order, as in the reference. A gate
    outside 0 … 1 counts as the bound; the reference cuts its gradient too, as `.clamp(0, 1)` of the result
    would.
    """
    return {
        name: gate - learning_rate * float(getattr(gate, "lr_multiplier", 1.0)) * gradient
        for (name, gate), gradient in zip(current.items(), gradients, strict=True)
    }


@contextlib.contextmanager
def using_gates(model: nn.Module, values: Mapping[str, Tensor]) -> Iterator[None]:
    """Within the block the named gates have these values; afterwards they are the parameters again."""
    found = {f"{name}.gate" if name else "gate": part for name, part in _gates(model)}
    try:
        for name, value in values.items():
            found[name].updated = value
        yield
    finally:
        for part in found.values():
            part.updated = None


def clip_gates(model: nn.Module) -> None:
    """Bring all gates back into 0 … 1."""
    for _, part in _gates(model):
        part.clip()


def _gates(model: nn.Module) -> list[tuple[str, Gate]]:
    return [(name, part) for name, part in model.named_modules() if isinstance(part, Gate)]
