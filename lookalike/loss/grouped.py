"""Losses that the reference computes on batches in a fixed order: TriHard, MSM, EML and N-pairs.

It ignores the labels: each run of `samples_each_class` rows counts as one class. Here the labels decide,
and batches may be of any make-up. `reference_behaviour=True` goes by the order of rows instead; on batches in
that order both give the same values.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from lookalike.core.numbers import Number
from lookalike.loss.base import Loss
from lookalike.loss.pairwise import hardest, same_label, squared_distances, unit_rows
from lookalike.loss.registries import losses

_ANY_SIZE = {"batch_size": "batches may be of any size"}


class _Grouped(Loss):
    """A loss whose classes are the labels or, for the reference, runs of rows."""

    def __init__(self, samples_each_class: int, feature_from: str, reference_behaviour: bool) -> None:
        super().__init__(feature_from)
        self.samples_each_class = samples_each_class
        self.reference_behaviour = reference_behaviour

    def read_labels(self, labels: Tensor, values: Tensor) -> Tensor:
        labels = super().read_labels(labels, values)
        if not self.reference_behaviour:
            return labels
        return torch.arange(len(labels), device=labels.device) // self.samples_each_class


@losses.register("TriHardLoss", swallows=_ANY_SIZE)
class TriHardLoss(_Grouped):
    """L = mean_i max(0, max_p d(i, p) - min_n d(i, n) + margin), d squared Euclidean between unit vectors.

    Batch-hard triplets, https://arxiv.org/abs/1703.07737, on squared distances. Reads (N, D) from
    `feature_from`. An anchor without another positive is its own positive; a batch of one identity gives 0.
    `samples_each_class` concerns `reference_behaviour=True` only, see above.
    """

    output_key = "trihardloss"

    def __init__(
        self,
        samples_each_class: int = 2,
        margin: Number = 0.1,
        feature_from: str = "features",
        reference_behaviour: bool = False,
    ) -> None:
        super().__init__(samples_each_class, feature_from, reference_behaviour)
        self.margin = margin

    def value(self, values: Tensor, labels: Tensor) -> Tensor:
        between, same = squared_distances(unit_rows(values)), same_label(labels)
        gap = hardest(between, same, largest=True) - hardest(between, ~same, largest=False)
        return (functional.relu(gap + self.margin) * (~same).any(dim=1)).mean()


@losses.register("MSMLoss", swallows=_ANY_SIZE)
class MSMLoss(_Grouped):
    """L = max(0, max d(i, p) - min d(j, n) + margin) over the batch, d squared Euclidean of unit vectors.

    The farthest of all positive pairs against the nearest of all negative pairs, which need not share an
    anchor. Xiao, Luo, Zhang, Margin Sample Mining Loss, 2017, https://arxiv.org/abs/1710.00478. Reads (N, D)
    from `feature_from`. Samples count among their own positives; a batch of one identity gives 0.
    `samples_each_class` concerns `reference_behaviour=True` only, see above.
    """

    output_key = "msmloss"

    def __init__(
        self,
        samples_each_class: int = 2,
        margin: Number = 0.1,
        feature_from: str = "features",
        reference_behaviour: bool = False,
    ) -> None:
        super().__init__(samples_each_class, feature_from, reference_behaviour)
        self.margin = margin

    def value(self, values: Tensor, labels: Tensor) -> Tensor:
        between, same = squared_distances(unit_rows(values)).reshape(1, -1), same_label(labels).reshape(1, -1)
        gap = hardest(between, same, largest=True) - hardest(between, ~same, largest=False)
        return (functional.relu(gap + self.margin) * (~same).any()).sum()


@losses.register("EmlLoss", swallows=_ANY_SIZE)
class EmlLoss(_Grouped):
    """L = mean_i log(1 + beta mean_p exp(d(i, p)) mean_n exp(-d(i, n))) / log(1 + beta), d squared Euclidean.

    p runs over the other samples of the label of i, n over those of other labels, beta = 100000. Huang, Zhu,
    Lin, Large Scale Strongly Supervised Ensemble Metric Learning, 2012, https://arxiv.org/abs/1212.6094.
    Reads (N, D) from `feature_from`, as they are. An anchor without positives or without negatives counts
    with 0.

    The reference takes the logarithm apart where max_p d - min_n d is above 20; this form needs no such case
    and gives the same values. `samples_each_class` concerns `reference_behaviour=True` only, see above.
    """

    output_key = "emlloss"
    beta = 100_000

    def __init__(
        self,
        samples_each_class: int = 2,
        feature_from: str = "features",
        reference_behaviour: bool = False,
    ) -> None:
        super().__init__(samples_each_class, feature_from, reference_behaviour)

    def value(self, values: Tensor, labels: Tensor) -> Tensor:
        between, same = squared_distances(values), same_label(labels)
        own = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        gap = _log_mean_exp(between, same & ~own) + _log_mean_exp(-between, ~same)
        anchors = (same & ~own).any(dim=1) & (~same).any(dim=1)
        terms = functional.softplus(gap + math.log(self.beta)) / math.log1p(self.beta)
        return terms.masked_fill(~anchors, 0.0).mean()


def _log_mean_exp(values: Tensor, mask: Tensor) -> Tensor:
    """log of the mean of exp(values) under the mask, for each row; 0 without gradient where none is."""
    some = mask.any(dim=1)
    filled = values.masked_fill(~mask & some[:, None], -torch.inf).masked_fill(~some[:, None], 0.0)
    counts = torch.where(some, mask.sum(dim=1), mask.shape[1])
    return filled.logsumexp(dim=1) - counts.to(values).log()


@losses.register("NpairsLoss")
class NpairsLoss(_Grouped):
    """L = mean_k log(1 + sum_{l: y_l != y_k} exp(a_k.p_l - a_k.p_k)) + reg_lambda / 2 mean_i |x_i|^2

    over pairs (a_k, p_k) of samples of one label: its first and second in the batch, its third and fourth,
    and so on. Sohn, Improved Deep Metric Learning with Multi-class N-pair Loss Objective, 2016. Reads (N, D)
    from `feature_from`, as they are. A sample that is left over has no part in the first term, which is 0
    without any pair.

    The reference takes rows 2k and 2k + 1 for a pair, and all of these for different labels;
    `reference_behaviour=True` does the same.
    """

    output_key = "npairsloss"

    def __init__(
        self, reg_lambda: Number = 0.01, feature_from: str = "features", reference_behaviour: bool = False
    ) -> None:
        super().__init__(2, feature_from, reference_behaviour)
        self.reg_lambda = reg_lambda

    def value(self, values: Tensor, labels: Tensor) -> Tensor:
        length = self.reg_lambda / 2 * values.square().sum(dim=1).mean()
        anchors, positives = _pairs(labels)
        if not len(anchors):
            return length
        scores = values[anchors] @ values[positives].t()
        rivals = ~same_label(labels[anchors])
        rivals.fill_diagonal_(True)  # the own positive stays
        scores = scores.masked_fill(~rivals, -torch.inf)
        own = torch.arange(len(anchors), device=labels.device)
        return functional.cross_entropy(scores, own) + length


def _pairs(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Indices of anchors and of their positives: the samples of each label two by two, in their order."""
    order = labels.argsort(stable=True)
    earlier = same_label(labels).tril(diagonal=-1).sum(dim=1)[order]
    following = torch.cat([earlier[1:], earlier.new_zeros(1)])
    first = (earlier % 2 == 0) & (following == earlier + 1)
    return order[first], order.roll(-1)[first]
