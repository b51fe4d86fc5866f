"""Formulas of losses between a student's and a teacher's output, as loops over samples."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Array = np.ndarray


def softmax(row: Array) -> list[float]:
    exponentials = [math.exp(value) for value in row]
    return [value / sum(exponentials) for value in exponentials]


def cross_entropy(wanted: list[float], found: list[float]) -> float:
    return -sum(w * math.log(f) for w, f in zip(wanted, found, strict=True))


def divergence(wanted: list[float], found: list[float]) -> float:
    return sum(w * math.log(w / f) for w, f in zip(wanted, found, strict=True))


def huber(difference: float, delta: float = 1.0) -> float:
    size = abs(difference)
    return size**2 / 2 if size < delta else delta * (size - delta / 2)


def distance(
    student: Array, teacher: Array, _: Array, mode: str = "l2", reduction: str = "mean", delta: float = 1.0
) -> float:
    of_mode = {"l1": abs, "l2": lambda d: d * d, "smooth_l1": lambda d: huber(d, delta)}[mode]
    terms = [of_mode(float(d)) for d in (student - teacher).ravel()]
    return float(sum(terms) if reduction == "sum" else np.mean(terms))


def kl_divergence(student: Array, teacher: Array, _: Array, temperature: float = 4.0) -> float:
    terms = [divergence(softmax(t / temperature), softmax(s / temperature))
             for s, t in zip(student, teacher, strict=True)]  # fmt: skip
    return temperature**2 * float(np.mean(terms))


def mutual(
    student: Array,
    teacher: Array,
    _: Array,
    act: str | None = "softmax",
    sum_across_class_dim: bool = False,
) -> float:
    terms = []
    for s, t in zip(student, teacher, strict=True):
        if act == "softmax":
            p, q = softmax(s), softmax(t)
        else:
            p, q = [[1 / (1 + math.exp(-v)) for v in row] for row in (s, t)]
        terms.append((divergence(p, q) + divergence(q, p)) / 2)
    return float(np.mean(terms)) * (student.shape[1] if sum_across_class_dim else 1)


def decoupled(
    student: Array,
    teacher: Array,
    labels: Array,
    temperature: float = 1.0,
    alpha: float = 1.0,
    beta: float = 1.0,
    use_target_as_gt: bool = False,
) -> float:
    terms = []
    for s, t, label in zip(student / temperature, teacher / temperature, labels, strict=True):
        own_s, own_t = softmax(s)[label], softmax(t)[label]
        target = divergence([own_t, 1 - own_t], [own_s, 1 - own_s])
        others = divergence(softmax(np.delete(t, label)), softmax(np.delete(s, label)))
        terms.append(alpha * target + beta * others)
    return temperature**2 * float(np.mean(terms))


def spherical(
    student: Array,
    teacher: Array,
    labels: Array,
    temperature: float = 1.0,
    multiplier: float = 2.0,
    alpha: float = 0.9,
    use_target_as_gt: bool = False,
) -> float:
    terms = []
    for s, t, label in zip(student, teacher, labels, strict=True):
        s, t = [multiplier * (row - row.mean()) / math.sqrt(row.var() + 1e-7) for row in (s, t)]
        soft = cross_entropy(softmax(t / temperature), softmax(s / temperature))
        terms.append(alpha * temperature**2 * soft - (1 - alpha) * math.log(softmax(s)[label]))
    return float(np.mean(terms))


def weighted_soft_labels(
    student: Array, teacher: Array, labels: Array, temperature: float = 2.0, use_target_as_gt: bool = False
) -> float:
    terms = []
    for s, t, label in zip(student, teacher, labels, strict=True):
        ratio = math.log(softmax(s)[label]) / (math.log(softmax(t)[label]) - 1e-7)
        soft = cross_entropy(softmax(t / temperature), softmax(s / temperature))
        terms.append((1 - math.exp(-ratio)) * soft)
    return temperature**2 * float(np.mean(terms))


def stronger_teacher(
    student: Array, teacher: Array, _: Array, beta: float = 1.0, gamma: float = 1.0
) -> float:
    p, q = [np.array([softmax(row) for row in logits]) for logits in (student, teacher)]
    classes = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(p, q, strict=True)])
    samples = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(p.T, q.T, strict=True)])
    return float(beta * (1 - classes) + gamma * (1 - samples))


def angles(student: Array, teacher: Array, _: Array) -> float:
    def cosine(rows: Array, i: int, j: int, k: int) -> float:
        one, other = rows[j] - rows[i], rows[k] - rows[i]
        norms = float(np.linalg.norm(one) * np.linalg.norm(other))
        return float(one @ other) / norms if norms else 0.0

    places = [
        (i, j, k) for i in range(len(student)) for j in range(len(student)) for k in range(len(student))
    ]
    return float(np.mean([huber(cosine(student, *p) - cosine(teacher, *p)) for p in places]))


def distances(student: Array, teacher: Array, _: Array) -> float:
    tables = []
    for rows in (student, teacher):
        table = np.array([[max(1e-6, float(np.linalg.norm(a - b))) for a in rows] for b in rows])
        tables.append(table / table.mean())
    return float(np.mean([huber(d) for d in (tables[0] - tables[1]).ravel()]))


NAIVE: dict[str, Any] = {
    "DistanceLoss": distance,
    "KLDivLoss": kl_divergence,
    "DMLLoss": mutual,
    "DKDLoss": decoupled,
    "SKDLoss": spherical,
    "WSLLoss": weighted_soft_labels,
    "DISTLoss": stronger_teacher,
    "RKdAngle": angles,
    "RkdDistance": distances,
}
