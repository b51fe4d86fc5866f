"""The batch-hard triplet loss on cosine similarities, with absolute bounds."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from lookalike.core.numbers import Number
from lookalike.loss.base import Loss
from lookalike.loss.memory import CrossBatchMemory, RememberingLoss
from lookalike.loss.pairwise import hardest, unit_rows
from lookalike.loss.reduction import Reduction, reduce
from lookalike.loss.registries import losses


@losses.register("TripletAngularMarginLoss")
class TripletAngularMarginLoss(Loss):
    """With s = x x^T, ap_i = min_p s_ip, an_i = max_n s_in.

    L = reduce_i max(0, an_i - ap_i + margin), to which `add_absolute` adds absolute_loss_weight * (mean_i
    max(0, an_i - an_value) + mean_i max(0, ap_value - ap_i)).

    Source: PaddleClas, PP-ShiTu V2 (batch-hard mining of https://arxiv.org/abs/1703.07737 on cosine
    similarities). Reads (N, D) from `feature_from`, L2-normalised unless `normalize_feature` is False. The
    anchor counts among its own positives. `reduction` concerns the relative term; none gives (N,).

    The reference adds 1 instead of 0 to the mean of the first absolute term for every anchor whose negatives
    are all below `an_value` (`reference_behaviour=True` does the same), and it fails, or silently mines
    similarities of other anchors, unless every anchor has equally many positives. Here any batch works; in a
    batch of one identity the terms with negatives are 0. On batches of P identities with K samples each the
    values are the reference's.
    """

    output_key = "TripletAngularMarginLoss"

    def __init__(
        self,
        margin: Number = 0.5,
        normalize_feature: bool = True,
        reduction: Reduction = "mean",
        add_absolute: bool = False,
        absolute_loss_weight: Number = 1.0,
        ap_value: Number = 0.9,
        an_value: Number = 0.5,
        feature_from: str = "features",
        reference_behaviour: bool = False,
    ) -> None:
        super().__init__(feature_from)
        self.margin = margin
        self.normalize_feature = normalize_feature
        self.reduction: Reduction = reduction
        self.add_absolute = add_absolute
        self.absolute_loss_weight = absolute_loss_weight
        self.ap_value = ap_value
        self.an_value = an_value
        self.reference_behaviour = reference_behaviour

    def value(self, values: Tensor, labels: Tensor) -> Tensor:
        features = unit_rows(values) if self.normalize_feature else values
        return self.compare(features, labels, features, labels)

    def compare(self, queries: Tensor, query_labels: Tensor, keys: Tensor, key_labels: Tensor) -> Tensor:
        """The loss of queries (Q, D) with positives and negatives among keys (K, D)."""
        similarities = queries @ keys.t()
        same = query_labels[:, None] == key_labels[None, :]
        has_negative = (~same).any(dim=1)
        positive = hardest(similarities, same, largest=False)
        negative = hardest(similarities, ~same, largest=True)
        loss = reduce(functional.relu(negative - positive + self.margin) * has_negative, self.reduction)
        if not self.add_absolute:
            return loss
        above = negative - self.an_value
        satisfied = torch.ones_like(above) if self.reference_behaviour else torch.zeros_like(above)
        too_near = torch.where(above > 0, above, satisfied) * has_negative
        too_far = functional.relu(self.ap_value - positive)
        return loss + self.absolute_loss_weight * (too_near.mean() + too_far.mean())


@losses.register("TripletAngularMarginLoss_XBM")
class TripletAngularMarginLoss_XBM(RememberingLoss):
    """L = angular triplet loss in the batch + xbm_weight * that with positives and negatives from the memory.

    The loss is that of TripletAngularMarginLoss; the memory holds the last `xbm_size` features of `feat_dim`
    values, those of the batch included. See `RememberingLoss` and, for what the reference does differently,
    `CrossBatchMemory`.
    """

    output_key = "TripletAngularMarginLoss_XBM"

    def __init__(
        self,
        xbm_size: int,
        feat_dim: int,
        xbm_weight: Number = 1.0,
        start_iter: int = 1000,
        margin: Number = 0.5,
        normalize_feature: bool = True,
        reduction: Reduction = "mean",
        add_absolute: bool = False,
        absolute_loss_weight: Number = 1.0,
        ap_value: Number = 0.9,
        an_value: Number = 0.5,
        feature_from: str = "features",
        reference_behaviour: bool = False,
    ) -> None:
        memory = CrossBatchMemory(xbm_size, feat_dim, reference_behaviour)
        super().__init__(memory, xbm_weight, start_iter, normalize_feature, feature_from)
        self.triplet = TripletAngularMarginLoss(
            margin,
            normalize_feature,
            reduction,
            add_absolute,
            absolute_loss_weight,
            ap_value,
            an_value,
            feature_from,
            reference_behaviour,
        )

    def compare(self, queries: Tensor, query_labels: Tensor, keys: Tensor, key_labels: Tensor) -> Tensor:
        return self.triplet.compare(queries, query_labels, keys, key_labels)
