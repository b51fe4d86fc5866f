"""DIST: the student's probabilities need only correlate with the teacher's."""

from __future__ import annotations

import torch
from torch import Tensor

from lookalike.core.numbers import Number
from lookalike.loss.distillation.pair import PairLoss, pair_losses

_SMALLEST = 1e-8


@pair_losses.register("DISTLoss")
class DISTLoss(PairLoss):
    """L = beta (1 - mean_i r(p_i, q_i)) + gamma (1 - mean_c r(p_.c, q_.c)), r Pearson's correlation,

    over the classes of each sample and over the samples of each class, with p and q the softmax of the logits
    (N, C) of student and teacher. Huang, You, Wang, Qian, Xu, Knowledge Distillation from A Stronger Teacher,
    2022, https://arxiv.org/abs/2205.10536. A teacher that is not frozen gets a gradient. Same values as the
    reference.
    """

    def __init__(self, beta: Number = 1.0, gamma: Number = 1.0) -> None:
        super().__init__()
        self.beta = beta
        self.gamma = gamma

    def value(self, student: Tensor, teacher: Tensor, labels: Tensor | None) -> Tensor:
        student, teacher = student.softmax(dim=1), teacher.softmax(dim=1)
        between_classes = 1 - _correlation(student, teacher).mean()
        between_samples = 1 - _correlation(student.t(), teacher.t()).mean()
        return self.beta * between_classes + self.gamma * between_samples


def _correlation(one: Tensor, other: Tensor) -> Tensor:
    """Pearson's correlation of each row of two matrices; 0 for rows without variance."""
    one, other = one - one.mean(dim=1, keepdim=True), other - other.mean(dim=1, keepdim=True)
    norms: Tensor = torch.linalg.vector_norm(one, dim=1) * torch.linalg.vector_norm(other, dim=1)
    return (one * other).sum(dim=1) / (norms + _SMALLEST)
