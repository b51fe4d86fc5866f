"""What all losses between a student and a teacher share."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from lookalike.core.errors import UserError
from lookalike.core.registry import Registry
from lookalike.loss.base import in_full_precision


class PairLoss(nn.Module, ABC):
    """A loss between one output of a student and one of a teacher. A subclass writes `value`.

    The arithmetic is float32 (float64 for float64 inputs), also under autocast.
    """

    output_key: str = "loss"
    """Name of the value among the results; the reference's name."""

    one_shape: bool = True
    """Whether student and teacher have to have one shape."""

    @abstractmethod
    def value(self, student: Tensor, teacher: Tensor, labels: Tensor | None) -> Tensor:
        """The loss of a student's and a teacher's output (N, …) and, where there are any, labels (N,)."""

    def forward(self, student: Tensor, teacher: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        """`{output_key: loss}`. Raises UserError for outputs that cannot be compared."""
        fits = student.shape == teacher.shape if self.one_shape else len(student) == len(teacher)
        if not fits:
            comparable = "one shape" if self.one_shape else "one batch"
            raise UserError(
                f"{type(self).__name__} compares outputs of {comparable}, but the student gives "
                f"{tuple(student.shape)} and the teacher {tuple(teacher.shape)}"
            )
        student, teacher = in_full_precision(student), in_full_precision(teacher)
        with torch.autocast(student.device.type, enabled=False):
            return {self.output_key: self.value(student, teacher, labels)}


pair_losses: Registry[PairLoss] = Registry("loss between two models")
"""Names for `base_loss_name` of DistillationPairLoss."""


def ground_truth(labels: Tensor | None, teacher: Tensor) -> Tensor:
    """The classes (N,) that count as right: the labels, without any the teacher's most probable ones."""
    return teacher.argmax(dim=1) if labels is None else labels.reshape(-1).to(teacher.device).long()
