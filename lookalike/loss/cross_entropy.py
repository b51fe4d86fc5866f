"""Cross entropy, with label smoothing and soft labels."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from lookalike.core.errors import UserError
from lookalike.core.numbers import Number
from lookalike.loss.base import Loss
from lookalike.loss.label_range import LabelRange
from lookalike.loss.reduction import Reduction, reduce
from lookalike.loss.registries import losses


@losses.register("CELoss", "CrossEntropyLoss")
class CELoss(Loss):
    """L = -sum_c t_c log softmax(logits)_c, with t = (1 - epsilon) onehot(label) + epsilon / C.

    Reads `logits` (N, C). Labels are class numbers (N,) or (N, 1), or soft labels (N, C) whose rows are
    distributions. `reduction`: mean or sum over samples, or none for (N,). Smoothing: Szegedy et al.,
    Rethinking the Inception Architecture, 2016, https://arxiv.org/abs/1512.00567.

    The reference ignores an epsilon outside (0, 1), which is an error here except for 0; puts soft labels
    through a softmax when epsilon is not set; and lets the gradient of a smoothed soft label flow.
    `reference_behaviour=True` does the same.

    Raises UserError for labels outside of 0 .. C-1.
    """

    output_key = "CELoss"
    takes_soft_labels = True
    """Whether labels may be distributions over classes, as mixed images have them."""

    def __init__(
        self, epsilon: Number | None = None, reduction: Reduction = "mean", reference_behaviour: bool = False
    ) -> None:
        super().__init__("logits")
        if epsilon is not None and not 0 <= epsilon < 1 and not reference_behaviour:
            raise UserError(f"CELoss: epsilon must be at least 0 and below 1, got {epsilon}")
        self.epsilon = epsilon if epsilon is not None and 0 < epsilon < 1 else 0.0
        self.reduction: Reduction = reduction
        self.reference_behaviour = reference_behaviour
        self.labels_of_classes = LabelRange(type(self).__name__, "'logits'", "Arch.Head.class_num")

    def read_labels(self, labels: Tensor, values: Tensor) -> Tensor:
        samples, classes = values.shape
        soft = labels.shape == (samples, classes) and (classes > 1 or labels.is_floating_point())
        if soft:
            return labels.to(values)
        return self.labels_of_classes.within(super().read_labels(labels, values).long(), classes)

    def value(self, values: Tensor, labels: Tensor) -> Tensor:
        if labels.dim() == 1:
            smoothing = self.smoothing(values.shape[1])
            terms = functional.cross_entropy(values, labels, reduction="none", label_smoothing=smoothing)
        else:
            terms = -(self._soft_target(labels) * functional.log_softmax(values, dim=1)).sum(dim=1)
        return reduce(terms, self.reduction)

    def _soft_target(self, labels: Tensor) -> Tensor:
        if self.reference_behaviour:
            if not self.epsilon:
                return labels.softmax(dim=1).detach()
        else:
            labels = labels.detach()
        smoothing = self.smoothing(labels.shape[1])
        return (1 - smoothing) * labels + smoothing / labels.shape[1]

    def smoothing(self, classes: int) -> float:
        """The share of the target that is spread over all classes."""
        return self.epsilon


@losses.register("SoftTargetCrossEntropy")
class SoftTargetCrossEntropy(CELoss):
    """L = -mean_i sum_c t_ic log softmax(logits_i)_c, for labels that are distributions t (N, C).

    Reads `logits` (N, C). Class numbers count as CELoss counts them. The labels are used as they are and get
    no gradient; the reference sends one to them and takes a bare tensor of logits.
    """

    output_key = "SoftTargetCELoss"

    def __init__(self, reference_behaviour: bool = False) -> None:
        super().__init__()
        self.sends_gradient_to_labels = reference_behaviour

    def _soft_target(self, labels: Tensor) -> Tensor:
        return labels if self.sends_gradient_to_labels else labels.detach()
