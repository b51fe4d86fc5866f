"""The formulas of the losses, written as loops over samples, to hold the vectorised code against."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.loss import naive_codes, naive_pairs
from tests.loss.naive_pairs import unit

Array = np.ndarray


def cross_entropy(
    logits: Array, labels: Array, epsilon: float | None = None, reduction: str = "mean", **_: Any
) -> Any:
    terms = []
    for row, label in zip(logits, labels, strict=True):
        classes = len(row)
        target = np.zeros(classes)
        if np.ndim(label):
            target += label
        else:
            target[label] = 1
        target = (1 - (epsilon or 0)) * target + (epsilon or 0) / classes
        highest = max(row)
        log_sum = highest + math.log(sum(math.exp(value - highest) for value in row))
        terms.append(-sum(t * (value - log_sum) for t, value in zip(target, row, strict=True)))
    return {"mean": np.mean, "sum": np.sum, "none": np.array}[reduction](terms)


def cross_entropy_beside(logits: Array, labels: Array, epsilon: float = 0.0, **_: Any) -> float:
    """Smoothing spreads epsilon over the other classes only."""
    terms = []
    for row, label in zip(logits, labels, strict=True):
        logarithms = row - math.log(sum(math.exp(value) for value in row))
        share = epsilon / (len(row) - 1)
        terms.append(-sum((1 - epsilon if c == label else share) * p for c, p in enumerate(logarithms)))
    return float(np.mean(terms))


def triplet(
    features: Array, labels: Array, margin: float = 1.0, normalize_feature: bool = False, **_: Any
) -> float:
    features = unit(features) if normalize_feature else features
    terms = []
    for i, anchor in enumerate(features):
        positives = [np.linalg.norm(anchor - other) if j != i else 0.0
                     for j, other in enumerate(features) if labels[j] == labels[i]]  # fmt: skip
        negatives = [
            np.linalg.norm(anchor - other) for j, other in enumerate(features) if labels[j] != labels[i]
        ]
        terms.append(max(0.0, max(positives) - min(negatives) + margin) if negatives else 0.0)
    return float(np.mean(terms))


def triplet_v2(
    features: Array, labels: Array, margin: float = 0.5, normalize_feature: bool = True, **_: Any
) -> float:
    return triplet(features, labels, margin, normalize_feature)


def triplet_angular(
    features: Array,
    labels: Array,
    margin: float = 0.5,
    normalize_feature: bool = True,
    reduction: str = "mean",
    add_absolute: bool = False,
    absolute_loss_weight: float = 1.0,
    ap_value: float = 0.9,
    an_value: float = 0.5,
    reference_behaviour: bool = False,
    **_: Any,
) -> Any:
    features = unit(features) if normalize_feature else features
    terms, near, far = [], [], []
    for i, anchor in enumerate(features):
        positive = min(float(anchor @ other) for j, other in enumerate(features) if labels[j] == labels[i])
        negatives = [float(anchor @ other) for j, other in enumerate(features) if labels[j] != labels[i]]
        far.append(max(0.0, ap_value - positive))
        if not negatives:
            terms.append(0.0)
            near.append(0.0)
            continue
        terms.append(max(0.0, max(negatives) - positive + margin))
        above = max(negatives) - an_value
        near.append(above if above > 0 else 1.0 if reference_behaviour else 0.0)
    loss = {"mean": np.mean, "sum": np.sum, "none": np.array}[reduction](terms)
    return loss + absolute_loss_weight * (np.mean(near) + np.mean(far)) if add_absolute else loss


def supervised_contrastive(
    features: Array,
    labels: Array,
    temperature: float = 0.07,
    contrast_mode: str = "all",
    base_temperature: float = 0.07,
    normalize_feature: bool = True,
    **_: Any,
) -> float:
    features = unit(features) if normalize_feature else features
    terms = []
    for i, anchor in enumerate(features):
        if contrast_mode == "one" and labels[i] in labels[:i]:
            continue
        others = [j for j in range(len(features)) if j != i]
        positives = [j for j in others if labels[j] == labels[i]]
        if not positives:
            continue
        scores = {j: float(anchor @ features[j]) / temperature for j in others}
        highest = max(scores.values())
        log_sum = highest + math.log(sum(math.exp(score - highest) for score in scores.values()))
        terms.append(-np.mean([scores[p] - log_sum for p in positives]))
    return temperature / base_temperature * float(np.mean(terms)) if terms else 0.0


def pairwise_cosface(
    features: Array, labels: Array, margin: float = 0.35, gamma: float = 64.0, **_: Any
) -> float:
    features = unit(features)
    terms = []
    for i, anchor in enumerate(features):
        positive = [
            -gamma * float(anchor @ f) for j, f in enumerate(features) if labels[j] == labels[i] and j != i
        ]
        negative = [
            gamma * (float(anchor @ f) + margin) for j, f in enumerate(features) if labels[j] != labels[i]
        ]
        if not positive or not negative:
            terms.append(0.0)
            continue
        exponents = [p + n for p in positive for n in negative]
        highest = max(0.0, *exponents)
        terms.append(highest + math.log(math.exp(-highest) + sum(math.exp(e - highest) for e in exponents)))
    return float(np.mean(terms))


NAIVE: dict[str, Callable[..., Any]] = {
    "CELoss": cross_entropy,
    "TripletLoss": triplet,
    "TripletLossV2": triplet_v2,
    "TripletAngularMarginLoss": triplet_angular,
    "SupConLoss": supervised_contrastive,
    "PairwiseCosface": pairwise_cosface,
    "ContrastiveLoss": naive_pairs.contrastive,
    "ContrastiveLoss_XBM": naive_pairs.contrastive,
    "TripletAngularMarginLoss_XBM": triplet_angular,
    "CenterLoss": naive_pairs.center,
    "TriHardLoss": naive_pairs.trihard,
    "MSMLoss": naive_pairs.margin_sample_mining,
    "EmlLoss": naive_pairs.ensemble,
    "NpairsLoss": naive_pairs.n_pairs,
    "DSHSDLoss": naive_codes.stable_distribution,
    "LCDSHLoss": naive_codes.locality_constrained,
    "DCHLoss": naive_codes.cauchy,
    "SoftTargetCrossEntropy": cross_entropy,
    "CELossForMetaBIN": cross_entropy_beside,
    "TripletLossForMetaBIN": triplet,
}
