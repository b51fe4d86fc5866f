"""Formulas on pairs, triplets and centres, as loops over samples."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Array = np.ndarray


def squared(one: Array, other: Array) -> float:
    return float(((one - other) ** 2).sum())


def contrastive(
    queries: Array,
    query_labels: Array,
    margin: float = 0.5,
    normalize_feature: bool = True,
    epsilon: float = 1e-5,
    keys: Array | None = None,
    key_labels: Array | None = None,
    **_: Any,
) -> float:
    """Against the queries themselves, or against keys that are given."""
    queries = unit(queries) if normalize_feature else queries
    keys, key_labels = (queries, query_labels) if keys is None else (keys, key_labels)
    total = 0.0
    for query, label in zip(queries, query_labels, strict=True):
        for key, other in zip(keys, key_labels, strict=True):
            similarity = float(query @ key)
            if label == other:
                total += 1 - similarity if similarity < 1 - epsilon else 0.0
            else:
                total += similarity if similarity > margin else 0.0
    return total / len(queries)


def unit(features: Array) -> Array:
    return np.stack(
        [row / np.linalg.norm(row) if np.linalg.norm(row) > 1e-12 else row * 0 for row in features]
    )


def trihard(features: Array, labels: Array, margin: float = 0.1, **_: Any) -> float:
    features = unit(features)
    terms = []
    for i, anchor in enumerate(features):
        positives = [squared(anchor, f) for j, f in enumerate(features) if labels[j] == labels[i] and j != i]
        negatives = [squared(anchor, f) for j, f in enumerate(features) if labels[j] != labels[i]]
        terms.append(max(0.0, max([0.0, *positives]) - min(negatives) + margin) if negatives else 0.0)
    return float(np.mean(terms))


def margin_sample_mining(features: Array, labels: Array, margin: float = 0.1, **_: Any) -> float:
    features = unit(features)
    positives, negatives = [0.0], []
    for i, anchor in enumerate(features):
        for j in range(i):
            pairs = positives if labels[i] == labels[j] else negatives
            pairs.append(squared(anchor, features[j]))
    return max(0.0, max(positives) - min(negatives) + margin) if negatives else 0.0


def ensemble(features: Array, labels: Array, **_: Any) -> float:
    terms = []
    for i, anchor in enumerate(features):
        positives = [squared(anchor, f) for j, f in enumerate(features) if labels[j] == labels[i] and j != i]
        negatives = [squared(anchor, f) for j, f in enumerate(features) if labels[j] != labels[i]]
        if not positives or not negatives:
            terms.append(0.0)
            continue
        attraction = np.mean([math.exp(d) for d in positives])
        repulsion = np.mean([math.exp(-d) for d in negatives])
        terms.append(math.log(1 + 1e5 * attraction * repulsion) / math.log(1 + 1e5))
    return float(np.mean(terms))


def n_pairs(features: Array, labels: Array, reg_lambda: float = 0.01, **_: Any) -> float:
    waiting: dict[int, int] = {}
    pairs = []
    for index, label in enumerate(labels.tolist()):
        if label in waiting:
            pairs.append((waiting.pop(label), index))
        else:
            waiting[label] = index
    terms = []
    for anchor, positive in pairs:
        own = float(features[anchor] @ features[positive])
        rivals = [math.exp(float(features[anchor] @ features[p]) - own)
                  for _, p in pairs if labels[p] != labels[anchor]]  # fmt: skip
        terms.append(math.log(1 + sum(rivals)))
    length = float(np.mean([f @ f for f in features]))
    return (float(np.mean(terms)) if terms else 0.0) + reg_lambda / 2 * length


def parameter_values(*shape: int) -> Array:
    """Values for a parameter of a loss, the same in every test, exact in float32."""
    waves = np.cos(np.arange(np.prod(shape))).astype(np.float32)
    return waves.reshape(shape).astype(np.float64)


def center(features: Array, labels: Array, num_classes: int = 0, feat_dim: int = 0, **_: Any) -> float:
    centers = parameter_values(num_classes, feat_dim)
    return float(np.mean([squared(f, centers[label]) for f, label in zip(features, labels, strict=True)]))
