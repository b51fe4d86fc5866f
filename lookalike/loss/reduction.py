"""From one value a sample to one value."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

Reduction = Literal["mean", "sum", "none"]


def reduce(values: Tensor, reduction: Reduction) -> Tensor:
    """Mean, sum, or the (N,) values as they are."""
    if reduction == "mean":
        return values.mean()
    return values.sum() if reduction == "sum" else values
