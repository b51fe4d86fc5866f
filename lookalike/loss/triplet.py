"""Batch-hard triplet losses on Euclidean distances."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from lookalike.core.numbers import Number
from lookalike.loss.base import Loss
from lookalike.loss.pairwise import distances, hardest, same_label, unit_rows
from lookalike.loss.registries import losses


def batch_hard_triplet(features: Tensor, labels: Tensor, margin: float) -> Tensor:
    """mean_i max(0, max_{p: y_p = y_i} d_ip - min_{n: y_n != y_i} d_in + margin); 0 for one identity alone.

    The anchor counts among its own positives, at distance 0: one without another positive is pushed from its
    nearest negative.
    """
    between, same = distances(features), same_label(labels)
    gap = hardest(between, same, largest=True) - hardest(between, ~same, largest=False)
    return (functional.relu(gap + margin) * (~same).any(dim=1)).mean()


@losses.register("TripletLoss")
class TripletLoss(Loss):
    """L = mean_i max(0, max_p d(i, p) - min_n d(i, n) + margin), d Euclidean between features as they are.

    Hermans, Beyer, Leibe, In Defense of the Triplet Loss, 2017, https://arxiv.org/abs/1703.07737 (batch
    hard). Reads (N, D) from `feature_from`. Any number of samples per identity; an anchor without another
    positive is its own positive; a batch of one identity gives 0. Same values as the reference, which reads
    `features` only and loops over the anchors.
    """

    output_key = "TripletLoss"

    def __init__(self, margin: Number = 1.0, feature_from: str = "features") -> None:
        super().__init__(feature_from)
        self.margin = margin

    def value(self, values: Tensor, labels: Tensor) -> Tensor:
        return batch_hard_triplet(values, labels, self.margin)


@losses.register("TripletLossV2")
class TripletLossV2(Loss):
    """L = mean_i max(0, max_p d(i, p) - min_n d(i, n) + margin), d Euclidean between unit vectors.

    As TripletLoss, on unit vectors unless `normalize_feature` is False. https://arxiv.org/abs/1703.07737.
    Reads (N, D) from `feature_from`.

    Any batch works: masks instead of a reshape. The reference fails, or silently mines distances of other
    anchors, unless every anchor has equally many positives, and fails without negatives; here such a batch of
    one identity gives 0. On batches of P identities with K samples each the values are the reference's.
    """

    output_key = "TripletLossV2"

    def __init__(
        self, margin: Number = 0.5, normalize_feature: bool = True, feature_from: str = "features"
    ) -> None:
        super().__init__(feature_from)
        self.margin = margin
        self.normalize_feature = normalize_feature

    def value(self, values: Tensor, labels: Tensor) -> Tensor:
        return batch_hard_triplet(
            unit_rows(values) if self.normalize_feature else values, labels, self.margin
        )
