"""Distillation that knows the right class: decoupled, spherical, weighted soft labels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from lookalike.core.numbers import Number, Positive
from lookalike.loss.distillation.pair import PairLoss, ground_truth, pair_losses

_MASKED = -1e9  # finite, so that 0 times its logarithm is 0


class _WithGroundTruth(PairLoss):
    """A pair loss that knows the right class.

    That is the label; without labels, and for the reference's `use_target_as_gt` (whose name says the
    opposite), the teacher's most probable class.
    """

    def __init__(self, use_target_as_gt: bool, reference_behaviour: bool) -> None:
        super().__init__()
        self.ignores_labels = use_target_as_gt and reference_behaviour

    def right(self, labels: Tensor | None, teacher: Tensor) -> Tensor:
        """The right class of each sample, (N,)."""
        return ground_truth(None if self.ignores_labels else labels, teacher)


@pair_losses.register("DKDLoss")
class DKDLoss(_WithGroundTruth):
    """L = T^2 mean_i (alpha KL(b^t_i || b^s_i) + beta KL(o^t_i || o^s_i)), T `temperature`

    with b the probabilities (right class, any other) and o those of the other classes among themselves, of
    teacher and student, both from logits (N, C) / T. Zhao, Cui, Song, Qiu, Liang, Decoupled Knowledge
    Distillation, 2022, https://arxiv.org/abs/2203.08679. The teacher gets no gradient.

    The right class is the label. With `use_target_as_gt` the reference takes the teacher's most probable
    class; here it does so only with `reference_behaviour=True`, or where there are no labels.
    """

    def __init__(
        self,
        temperature: Positive = 1.0,
        alpha: Number = 1.0,
        beta: Number = 1.0,
        use_target_as_gt: bool = False,
        reference_behaviour: bool = False,
    ) -> None:
        super().__init__(use_target_as_gt, reference_behaviour)
        self.temperature = temperature
        self.alpha = alpha
        self.beta = beta

    def value(self, student: Tensor, teacher: Tensor, labels: Tensor | None) -> Tensor:
        right = functional.one_hot(self.right(labels, teacher), student.shape[1]).bool()
        student, teacher = student / self.temperature, teacher.detach() / self.temperature
        target = _divergence(_right_or_not(teacher, right), _right_or_not(student, right))
        others = _divergence(_among_others(teacher, right), _among_others(student, right))
        return self.temperature**2 * (self.alpha * target + self.beta * others)


def _right_or_not(logits: Tensor, right: Tensor) -> Tensor:
    """Logarithms of the probabilities of the right class and of all others together, (N, 2)."""
    own = logits.masked_fill(~right, _MASKED).logsumexp(dim=1)
    others = logits.masked_fill(right, _MASKED).logsumexp(dim=1)
    return functional.log_softmax(torch.stack([own, others], dim=1), dim=1)


def _among_others(logits: Tensor, right: Tensor) -> Tensor:
    """Logarithms of the probabilities of the classes that are not the right one, (N, C)."""
    return functional.log_softmax(logits.masked_fill(right, _MASKED), dim=1)


def _divergence(wanted: Tensor, found: Tensor) -> Tensor:
    return functional.kl_div(found, wanted, reduction="batchmean", log_target=True)


@pair_losses.register("SKDLoss")
class SKDLoss(_WithGroundTruth):
    """L = mean_i (alpha T^2 H(softmax(t_i / T), softmax(s_i / T)) + (1 - alpha) H(label_i, softmax(s_i)))

    with s and t the logits (N, C) of student and teacher, each row standardised to mean 0 and variance 1 and
    multiplied by `multiplier`, H the cross entropy, T `temperature`. Guo, Chen, Hu, Zhu, He, Cai, Reducing
    the Teacher-Student Gap via Spherical Knowledge Distillation, 2020, https://arxiv.org/abs/2010.07485.

    A teacher that is not frozen gets a gradient. With `use_target_as_gt` the reference takes the teacher's
    most probable class for the label; here it does so only with `reference_behaviour=True`, or where there
    are no labels.
    """

    def __init__(
        self,
        temperature: Positive = 1.0,
        multiplier: Positive = 2.0,
        alpha: Number = 0.9,
        use_target_as_gt: bool = False,
        reference_behaviour: bool = False,
    ) -> None:
        super().__init__(use_target_as_gt, reference_behaviour)
        self.temperature = temperature
        self.multiplier = multiplier
        self.alpha = alpha

    def value(self, student: Tensor, teacher: Tensor, labels: Tensor | None) -> Tensor:
        right = self.right(labels, teacher)
        student, teacher = self._on_sphere(student), self._on_sphere(teacher)
        soft = _soft_cross_entropy(student / self.temperature, teacher / self.temperature).mean()
        hard = functional.cross_entropy(student, right)
        return self.alpha * self.temperature**2 * soft + (1 - self.alpha) * hard

    def _on_sphere(self, logits: Tensor) -> Tensor:
        return functional.layer_norm(logits, logits.shape[1:], eps=1e-7) * self.multiplier


@pair_losses.register("WSLLoss")
class WSLLoss(_WithGroundTruth):
    """L = T^2 mean_i w_i H(softmax(t_i / T), softmax(s_i / T)), w = 1 - exp(-H(label, s) / H(label, t))

    with s and t the logits (N, C) of student and teacher, H the cross entropy, T `temperature`; no gradient
    flows through the weights. Zhou, Song, Zhou, et al., Rethinking Soft Labels for Knowledge Distillation,
    2021, https://arxiv.org/abs/2102.00650.

    A teacher that is not frozen gets a gradient. With `use_target_as_gt` the reference takes the teacher's
    most probable class for the label; here it does so only with `reference_behaviour=True`, or where there
    are no labels.
    """

    def __init__(
        self,
        temperature: Positive = 2.0,
        use_target_as_gt: bool = False,
        reference_behaviour: bool = False,
    ) -> None:
        super().__init__(use_target_as_gt, reference_behaviour)
        self.temperature = temperature

    def value(self, student: Tensor, teacher: Tensor, labels: Tensor | None) -> Tensor:
        right = self.right(labels, teacher)
        of_student = functional.cross_entropy(student.detach(), right, reduction="none")
        of_teacher = functional.cross_entropy(teacher.detach(), right, reduction="none")
        weights = 1 - torch.exp(-of_student / (of_teacher + 1e-7))
        soft = _soft_cross_entropy(student / self.temperature, teacher / self.temperature)
        return self.temperature**2 * (weights * soft).mean()


def _soft_cross_entropy(student: Tensor, teacher: Tensor) -> Tensor:
    """-sum_c softmax(teacher)_c log softmax(student)_c of each row, (N,)."""
    return -(teacher.softmax(dim=1) * functional.log_softmax(student, dim=1)).sum(dim=1)
