"""The distance between two outputs, element by element."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn import functional

from lookalike.core.numbers import Number
from lookalike.loss.distillation.pair import PairLoss, pair_losses

Mode = Literal["l1", "l2", "smooth_l1"]


@pair_losses.register("DistanceLoss")
class DistanceLoss(PairLoss):
    """Mean (or sum) over all elements of f(d), d the difference of student and teacher.

    f(d) is |d| for l1, d^2 for l2; for smooth_l1 (the Huber loss) d^2 / 2 where |d| < delta, else
    delta (|d| - delta / 2). Same values as the reference, told as `loss_l2` and so on. The teacher gets a
    gradient, too, unless it is frozen: two models that both train approach each other.
    """

    def __init__(
        self, mode: Mode = "l2", reduction: Literal["mean", "sum"] = "mean", delta: Number = 1.0
    ) -> None:
        super().__init__()
        self.mode = mode
        self.reduction = reduction
        self.delta = delta
        self.output_key = f"loss_{mode}"

    def value(self, student: Tensor, teacher: Tensor, labels: Tensor | None) -> Tensor:
        if self.mode == "l1":
            return functional.l1_loss(student, teacher, reduction=self.reduction)
        if self.mode == "l2":
            return functional.mse_loss(student, teacher, reduction=self.reduction)
        return functional.huber_loss(student, teacher, reduction=self.reduction, delta=self.delta)
