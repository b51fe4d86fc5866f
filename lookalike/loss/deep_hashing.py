"""Losses for codes: features that are binarised by their signs and compared by Hamming distance.

Two samples are alike when they share a label. Labels are class numbers (N,) or (N, 1); the pairs include each
sample with itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from lookalike.core.numbers import Number, Positive
from lookalike.loss.base import Loss, Term, one_a_sample, read_output
from lookalike.loss.label_range import LabelRange
from lookalike.loss.pairwise import same_label
from lookalike.loss.registries import losses

_LARGEST_PRODUCT = 50.0
_LARGEST_COSINE = 0.99
_SMALLEST_PRODUCT_OF_NORMS = 1e-4
_BY_LABEL = {"n_class": "samples are alike by their labels"}


@losses.register("DSHSDLoss")
class DSHSDLoss(Term):
    """L = mean_i C_i + alpha mean_ij D_ij, D = d / 2 for alike samples, max(0, 2 K - d) / 2 for others,

    with d squared Euclidean between features of K values, C_i the cross entropy of the logits with the label
    or, with `multi_label`, the sum over the classes of their binary cross entropies. Wu, Ling, Song, Deep
    Supervised Hashing Based on Stable Distribution, 2019. Reads (N, K) from `feature_from` and `logits`
    (N, C); with `multi_label` labels may be (N, C), 1 for each class that a sample is of, and samples are
    alike that share one.

    Same values as the reference, which has no default for `alpha` and takes class numbers only.

    Raises UserError for labels that do not fit the logits.
    """

    output_key = "dshsdloss"

    def __init__(
        self, alpha: Number = 0.05, multi_label: bool = False, feature_from: str = "features"
    ) -> None:
        super().__init__()
        self.alpha = alpha
        self.multi_label = multi_label
        self.feature_from = feature_from
        self.labels_of_classes = LabelRange("DSHSDLoss", "'logits'", "Arch.Head.class_num")

    def forward(
        self, outputs: Mapping[str, Any], labels: Tensor, batch: Mapping[str, Any] | None = None
    ) -> dict[str, Tensor]:
        features = read_output(outputs, self.feature_from, self.output_key)
        logits = read_output(outputs, "logits", self.output_key)
        with torch.autocast(features.device.type, enabled=False):
            return {self.output_key: self.value(features, logits, self.classes(labels, logits))}

    def classes(self, labels: Tensor, logits: Tensor) -> Tensor:
        """(N, C): 1 for each class that a sample is of."""
        if self.multi_label and labels.shape == logits.shape:
            return labels.to(logits)
        flat = one_a_sample(labels, logits, self.output_key).long()
        flat = self.labels_of_classes.within(flat, logits.shape[1])
        return functional.one_hot(flat, logits.shape[1]).to(logits)

    def value(self, features: Tensor, logits: Tensor, classes: Tensor) -> Tensor:
        """The loss of features (N, K), logits (N, C) and classes (N, C)."""
        squared = (features[:, None] - features[None, :]).square().sum(dim=2)
        alike = classes @ classes.t() > 0
        apart = functional.relu(2 * features.shape[1] - squared)
        distance = torch.where(alike, squared, apart).mean() / 2
        if self.multi_label:
            terms = functional.binary_cross_entropy_with_logits(logits, classes, reduction="none").sum(dim=1)
        else:
            terms = -(functional.log_softmax(logits, dim=1) * classes).sum(dim=1)
        return terms.mean() + self.alpha * distance


@losses.register("LCDSHLoss", swallows=_BY_LABEL)
class LCDSHLoss(Loss):
    """L = mean_ij log(1 + exp(-s_ij t_ij)) + _lambda mean_ij (sigmoid(t_ij) - sigmoid(b_ij))^2

    with t = x x^T / 2 within +-50, b = sign(x) sign(x)^T / 2, s = 1 for alike samples and -1 for others. Zhu,
    Gao, Locality-Constrained Deep Supervised Hashing for Image Retrieval, 2017. Reads (N, K) from
    `feature_from`. Same values as the reference, which has no default for `_lambda`.
    """

    output_key = "lcdshloss"

    def __init__(self, _lambda: Number = 3.0, feature_from: str = "features") -> None:
        super().__init__(feature_from)
        self.quantisation_weight = _lambda

    def value(self, values: Tensor, labels: Tensor) -> Tensor:
        products = (values @ values.t() / 2).clamp(-_LARGEST_PRODUCT, _LARGEST_PRODUCT)
        codes = values.sign()
        of_codes = codes @ codes.t() / 2
        alike = torch.where(same_label(labels), 1.0, -1.0).to(values)
        quantisation = (products.sigmoid() - of_codes.sigmoid()).square().mean()
        return functional.softplus(-alike * products).mean() + self.quantisation_weight * quantisation


@losses.register("DCHLoss", swallows=_BY_LABEL)
class DCHLoss(Loss):
    """L = mean_ij w (s log(d / gamma) + log(1 + gamma / d)) + _lambda mean_i log(1 + q / gamma)

    with d = K / 2 (1 - cos) the Hamming distance of codes of K values, relaxed, where cosines count as at
    most 0.99; s = 1 for alike samples and 0 for others, w the number of all pairs over that of pairs with the
    same s, q the distance of |x_i| to the vector of ones. Cao, Long, Liu, Wang, Deep Cauchy Hashing for
    Hamming Space Retrieval, 2018. Reads (N, K) from `feature_from`.

    Where all pairs are alike w is 1. Same values as the reference, which has no defaults for `gamma` and
    `_lambda` and fails for a batch of one.
    """

    output_key = "dchloss"

    def __init__(self, gamma: Positive = 20.0, _lambda: Number = 0.1, feature_from: str = "features") -> None:
        super().__init__(feature_from)
        self.gamma = gamma
        self.quantisation_weight = _lambda

    def value(self, values: Tensor, labels: Tensor) -> Tensor:
        alike = same_label(labels).to(values)
        positives = alike.sum()
        negatives = alike.numel() - positives
        weights = alike.numel() * (alike / positives + (1 - alike) / negatives.clamp_min(1))
        weights = torch.where(negatives > 0, weights, torch.ones_like(weights))
        apart = _relaxed_hamming(values, values)
        terms = weights * (alike * torch.log(apart / self.gamma) + torch.log1p(self.gamma / apart))
        from_codes = _relaxed_hamming(values.abs(), torch.ones_like(values[:1]))
        quantisation = torch.log1p(from_codes / self.gamma).mean()
        return terms.mean() + self.quantisation_weight * quantisation


def _relaxed_hamming(one: Tensor, other: Tensor) -> Tensor:
    """K / 2 (1 - cos) of rows (N, K) and (M, K), (N, M)."""
    norms = one.norm(dim=1, keepdim=True) @ other.norm(dim=1, keepdim=True).t()
    cosines = one @ other.t() / norms.clamp_min(_SMALLEST_PRODUCT_OF_NORMS)
    apart: Tensor = (1 - cosines.clamp_max(_LARGEST_COSINE)) * one.shape[1] / 2
    return apart
