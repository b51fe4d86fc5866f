"""The contrastive loss on cosine similarities, in the batch and against a memory of earlier batches."""

from __future__ import annotations

from torch import Tensor

from lookalike.core.numbers import Number
from lookalike.loss.base import Loss
from lookalike.loss.memory import CrossBatchMemory, RememberingLoss
from lookalike.loss.pairwise import same_label, unit_rows
from lookalike.loss.registries import losses

_KNOWN_SIZE = {"embedding_size": "the features bring their own length"}


def contrast(
    queries: Tensor, query_labels: Tensor, keys: Tensor, key_labels: Tensor, margin: float, epsilon: float
) -> Tensor:
    """1/Q sum_i (sum of 1 - s over positives with s < 1 - epsilon + sum of s over negatives with s > margin).

    s are the dot products of queries (Q, D) and keys (K, D). A pair of a sample and itself has s = 1: epsilon
    leaves it out.
    """
    similarities = queries @ keys.t()
    same = query_labels[:, None] == key_labels[None, :]
    far = (1 - similarities) * (same & (similarities < 1 - epsilon))
    near = similarities * (~same & (similarities > margin))
    return (far + near).sum() / len(queries)


@losses.register("ContrastiveLoss", swallows=_KNOWN_SIZE)
class ContrastiveLoss(Loss):
    """L = 1/N sum_i (sum_{p: s_ip < 1 - epsilon} (1 - s_ip) + sum_{n: s_in > margin} s_in), s cosines.

    p runs over the samples of the label of i, n over those of other labels: the contrastive loss in the form
    of Wang, Zhang, Huang, Scott, Cross-Batch Memory for Embedding Learning, 2020,
    https://arxiv.org/abs/1912.06798. Reads (N, D) from `feature_from`, L2-normalised unless
    `normalize_feature` is False.

    For labels (N, 1), which its engine passes, the reference takes the whole row i of similarities for
    positive as many times as the batch has the label of i, and for negative as many times as it has others:
    tens of times too much. `reference_behaviour=True` does the same for labels of that shape.
    """

    output_key = "ContrastiveLoss"

    def __init__(
        self,
        margin: Number = 0.5,
        normalize_feature: bool = True,
        epsilon: Number = 1e-5,
        feature_from: str = "features",
        reference_behaviour: bool = False,
    ) -> None:
        super().__init__(feature_from)
        self.margin = margin
        self.normalize_feature = normalize_feature
        self.epsilon = epsilon
        self.reference_behaviour = reference_behaviour

    def read_labels(self, labels: Tensor, values: Tensor) -> Tensor:
        flat = super().read_labels(labels, values)
        return flat[:, None] if self.reference_behaviour and labels.dim() == 2 else flat

    def value(self, values: Tensor, labels: Tensor) -> Tensor:
        features = unit_rows(values) if self.normalize_feature else values
        if labels.dim() == 2:
            return self._with_rows_for_pairs(features @ features.t(), same_label(labels[:, 0]))
        return contrast(features, labels, features, labels, self.margin, self.epsilon)

    def _with_rows_for_pairs(self, similarities: Tensor, same: Tensor) -> Tensor:
        """What the reference gives for labels (N, 1)."""
        far = ((1 - similarities) * (similarities < 1 - self.epsilon)).sum(dim=1) * same.sum(dim=1)
        near = (similarities * (similarities > self.margin)).sum(dim=1) * (~same).sum(dim=1)
        return (far + near).mean()


@losses.register("ContrastiveLoss_XBM")
class ContrastiveLoss_XBM(RememberingLoss):
    """L = contrast of the batch with itself + xbm_weight * contrast of the batch with the memory.

    The contrast is that of ContrastiveLoss; the memory holds the last `xbm_size` features of `embedding_size`
    values, those of the batch included. Wang, Zhang, Huang, Scott, Cross-Batch Memory for Embedding Learning,
    2020, https://arxiv.org/abs/1912.06798. See `RememberingLoss` and, for what the reference does differently
    (its memory is lost on resume and fails for class 0), `CrossBatchMemory`.
    """

    output_key = "ContrastiveLoss_XBM"

    def __init__(
        self,
        xbm_size: int,
        embedding_size: int,
        xbm_weight: Number = 1.0,
        start_iter: int = 1000,
        margin: Number = 0.5,
        normalize_feature: bool = True,
        epsilon: Number = 1e-5,
        feature_from: str = "features",
        reference_behaviour: bool = False,
    ) -> None:
        memory = CrossBatchMemory(xbm_size, embedding_size, reference_behaviour)
        super().__init__(memory, xbm_weight, start_iter, normalize_feature, feature_from)
        self.margin = margin
        self.epsilon = epsilon

    def compare(self, queries: Tensor, query_labels: Tensor, keys: Tensor, key_labels: Tensor) -> Tensor:
        return contrast(queries, query_labels, keys, key_labels, self.margin, self.epsilon)
