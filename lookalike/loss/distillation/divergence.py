"""How far the class probabilities of two models are apart."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from lookalike.core.numbers import Number, Positive
from lookalike.loss.distillation.pair import PairLoss, pair_losses


@pair_losses.register("KLDivLoss")
class KLDivLoss(PairLoss):
    """L = T^2 mean_i KL(softmax(teacher_i / T) || softmax(student_i / T)), T `temperature`.

    Hinton, Vinyals, Dean, Distilling the Knowledge in a Neural Network, 2015,
    https://arxiv.org/abs/1503.02531. Reads logits (N, C); the teacher gets no gradient. Same values as the
    reference.
    """

    output_key = "loss_kldiv"

    def __init__(self, temperature: Positive = 4.0) -> None:
        super().__init__()
        self.temperature = temperature

    def value(self, student: Tensor, teacher: Tensor, labels: Tensor | None) -> Tensor:
        found = functional.log_softmax(student / self.temperature, dim=1)
        wanted = functional.softmax(teacher.detach() / self.temperature, dim=1)
        return functional.kl_div(found, wanted, reduction="batchmean") * self.temperature**2


@pair_losses.register("DMLLoss")
class DMLLoss(PairLoss):
    """L = mean_i (D(p_i, q_i) + D(q_i, p_i)) / 2, D(p, q) = sum_c p_c log((p_c + eps) / (q_c + eps))

    with p and q the softmax of the logits (N, C) of two models, each the other's teacher. Zhang, Xiang,
    Hospedales, Lu, Deep Mutual Learning, 2018, https://arxiv.org/abs/1706.00384. `act` sigmoid makes p and q
    probabilities of each class alone, None takes the outputs as probabilities. Both models get a gradient.

    Same values as the reference. `sum_across_class_dim` multiplies by the number of classes C, as there:
    terms are weighted with C in both cases, and only without it averaged over the classes.
    """

    output_key = "DMLLoss"

    def __init__(
        self,
        act: Literal["softmax", "sigmoid"] | None = "softmax",
        sum_across_class_dim: bool = False,
        eps: Number = 1e-12,
    ) -> None:
        super().__init__()
        self.act = act
        self.sum_across_class_dim = sum_across_class_dim
        self.eps = eps

    def value(self, student: Tensor, teacher: Tensor, labels: Tensor | None) -> Tensor:
        one, other = self._probabilities(student), self._probabilities(teacher)
        ratio = torch.log((one + self.eps) / (other + self.eps))
        terms = ((one - other) * ratio).sum(dim=1) / 2
        return terms.mean() * (student.shape[1] if self.sum_across_class_dim else 1)

    def _probabilities(self, logits: Tensor) -> Tensor:
        if self.act is None:
            return logits
        return logits.softmax(dim=1) if self.act == "softmax" else logits.sigmoid()


class TeacherCrossEntropy(PairLoss):
    """L = -mean_i sum_c t_ic log softmax(student_i)_c, t_i = (1 - epsilon) softmax(teacher_i) + epsilon / C.

    Reads logits (N, C); the teacher gets no gradient. With an epsilon the reference smooths the teacher's
    logits instead of its probabilities, and sends the gradient to it; `reference_behaviour=True` does the
    same.
    """

    output_key = "CELoss"

    def __init__(self, epsilon: Number | None = None, reference_behaviour: bool = False) -> None:
        super().__init__()
        self.epsilon = epsilon or 0.0
        self.reference_behaviour = reference_behaviour

    def value(self, student: Tensor, teacher: Tensor, labels: Tensor | None) -> Tensor:
        raw = self.reference_behaviour and self.epsilon > 0
        wanted = teacher if raw else teacher.detach().softmax(dim=1)
        wanted = (1 - self.epsilon) * wanted + self.epsilon / teacher.shape[1]
        return -(wanted * functional.log_softmax(student, dim=1)).sum(dim=1).mean()
