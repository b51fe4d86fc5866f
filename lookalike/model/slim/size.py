"""How large a model is: parameters and multiply-adds of the way to its embedding."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from lookalike.model.rec_model import RecModel


@dataclass(frozen=True)
class Size:
    """Parameters of backbone and neck, and the multiply-adds that one picture takes."""

    parameters: int
    multiply_adds: int

    def __str__(self) -> str:
        return f"{self.parameters / 1e6:.2f} M parameters, {self.multiply_adds / 1e9:.3f} G multiply-adds"


def size_of(model: RecModel, image_shape: tuple[int, int, int]) -> Size:
    """The size of a model without its head, for pictures (C, H, W)."""
    parts = [part for part in (model.backbone, model.neck) if part is not None]
    parameters = [parameter for part in parts for parameter in part.parameters()]
    training, device = model.training, parameters[0].device
    model.eval()
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model.embed(torch.zeros(1, *image_shape, device=device))
    finally:
        model.train(training)
    # torch counts the multiplication and the addition
    return Size(sum(parameter.numel() for parameter in parameters), counter.get_total_flops() // 2)
