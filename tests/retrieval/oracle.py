"""The figures of retrieval by the definition: one query, one gallery item at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def ranked_hits(similarities, is_positive, is_ranked) -> list[bool]:
    """Whether each place of the ranking is a hit, best first, ties against the query."""
    items = [g for g in range(len(similarities)) if is_ranked[g]]
    items.sort(key=lambda g: (-similarities[g], is_positive[g]))
    return [bool(is_positive[g]) for g in items]


def figures_of_one(hits: list[bool], name: str) -> float:
    family, _, k = name.partition("@")
    ranks = [place + 1 for place, hit in enumerate(hits) if hit]
    precisions = [sum(hits[:rank]) / rank for rank in ranks]
    total = len(ranks)
    if name == "mAP@R":
        return sum(p for p, rank in zip(precisions, ranks, strict=True) if rank <= total) / total
    if family == "recall":
        return float(any(hits[: int(k)]))
    if family == "true_recall":
        return sum(hits[: int(k)]) / total
    if family == "precision":
        return sum(hits[: int(k)]) / int(k)
    if family == "nDCG":
        ideal = [True] * total
        return gain(hits[: int(k)]) / gain(ideal[: int(k)])
    if family == "mAP" and k:
        return sum(p for p, rank in zip(precisions, ranks, strict=True) if rank <= int(k)) / min(
            total, int(k)
        )
    return {
        "mAP": sum(precisions) / total,
        "R-precision": sum(hits[:total]) / total,
        "mINP": total / ranks[-1],
        "MRR": 1 / ranks[0],
        "first_hit_rank": float(ranks[0]),
    }[name]


def gain(hits: Sequence[bool]) -> float:
    return sum(1 / math.log2(2 + place) for place, hit in enumerate(hits) if hit)


def naive(
    query, query_labels, gallery, gallery_labels, query_cameras=None, gallery_cameras=None, same=None,
    metrics: Sequence[str] = ("recall@1", "recall@5", "mAP", "mINP", "precision@1", "precision@3"),
    distractors=None,
) -> tuple[dict[str, float], int]:  # fmt: skip
    """Figures and the number of queries without a positive. same(q, g): whether both are one image."""
    values: dict[str, list[float]] = {name: [] for name in metrics}
    without = 0
    for q in range(len(query)):
        positive, ranked = [], []
        for g in range(len(gallery)):
            itself = same is not None and same(q, g)
            alike = query_labels[q] == gallery_labels[g]
            alike = alike and not (distractors is not None and distractors[g])
            junk = alike and query_cameras is not None and query_cameras[q] == gallery_cameras[g]
            ranked.append(not (itself or junk))
            positive.append(bool(alike and ranked[-1]))
        if not any(positive):
            without += 1
            continue
        similarities = [float(np.dot(query[q].astype(np.float64), row.astype(np.float64))) for row in gallery]
        hits = ranked_hits(similarities, positive, ranked)
        for name in metrics:
            values[name].append(figures_of_one(hits, name))
    return {name: float(np.mean(each)) if each else float("nan") for name, each in values.items()}, without
