"""Formulas of losses for codes as loops over pairs of samples, each with itself included."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tests.loss.naive_pairs import squared

Array = np.ndarray


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def stable_distribution(
    values: Array, labels: Array, alpha: float = 0.05, multi_label: bool = False, **_: Any
) -> float:
    """The values are features and logits at once."""
    distances = [
        squared(a, b) / 2 if i == j else max(0.0, 2 * len(a) - squared(a, b)) / 2
        for a, i in zip(values, labels, strict=True)
        for b, j in zip(values, labels, strict=True)
    ]
    terms = []
    for row, label in zip(values, labels, strict=True):
        if multi_label:
            right = [_sigmoid(v) if c == label else 1 - _sigmoid(v) for c, v in enumerate(row)]
            terms.append(-sum(math.log(p) for p in right))
        else:
            terms.append(math.log(sum(math.exp(v - row[label]) for v in row)))
    return float(np.mean(terms) + alpha * np.mean(distances))


def locality_constrained(values: Array, labels: Array, _lambda: float = 3.0, **_: Any) -> float:
    fits, quantised = [], []
    for a, i in zip(values, labels, strict=True):
        for b, j in zip(values, labels, strict=True):
            product = max(-50.0, min(50.0, float(a @ b) / 2))
            fits.append(math.log(1 + math.exp(-product if i == j else product)))
            of_codes = float(np.sign(a) @ np.sign(b)) / 2
            quantised.append((_sigmoid(product) - _sigmoid(of_codes)) ** 2)
    return float(np.mean(fits) + _lambda * np.mean(quantised))


def cauchy(values: Array, labels: Array, gamma: float = 20.0, _lambda: float = 0.1, **_: Any) -> float:
    def apart(a: Array, b: Array) -> float:
        cosine = float(a @ b) / max(1e-4, float(np.linalg.norm(a) * np.linalg.norm(b)))
        return len(a) / 2 * (1 - min(cosine, 0.99))

    pairs = [(a, b, i == j) for a, i in zip(values, labels, strict=True)
             for b, j in zip(values, labels, strict=True)]  # fmt: skip
    alike = sum(same for _, _, same in pairs)
    terms = []
    for a, b, same in pairs:
        others = alike if same else len(pairs) - alike
        weight = len(pairs) / others if alike < len(pairs) else 1.0
        distance = apart(a, b)
        attraction = math.log(distance / gamma) if same else 0.0
        terms.append(weight * (attraction + math.log(1 + gamma / distance)))
    quantised = [math.log(1 + apart(np.abs(a), np.ones(len(a))) / gamma) for a in values]
    return float(np.mean(terms) + _lambda * np.mean(quantised))
