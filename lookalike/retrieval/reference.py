"""The figures as PaddleClas computes them, for those who compare with its tables.

What it does differently: junk stays in the ranking as a miss, with its similarity multiplied by 0, so that
    it stands above every negative similarity; each metric is computed for blocks of 64 queries and the
    blocks are averaged by their size, although each divides by its own number of queries with a positive;
    mINP divides by the zero-based rank of the last hit; precision@k is over all queries. Where this divides
    by zero the figure is NaN or infinite, as it is there. After re-ranking all queries are one block, and
    junk, at the largest distance of all + 1, stands last.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lookalike.retrieval.blocks import BlockSource, Similarities, parts_of
from lookalike.retrieval.candidates import Candidates
from lookalike.retrieval.metrics import Metric

BLOCK = 64


def reference_figures(
    query: npt.NDArray[Any],
    gallery: npt.NDArray[Any],
    candidates: Candidates,
    metrics: Sequence[Metric],
    block_size: int = BLOCK,
    reranked: BlockSource | None = None,
) -> tuple[dict[str, float], npt.NDArray[np.bool_]]:
    """Figures by name, and which queries have a positive. See the module for how they differ from ours.

    reranked: minus the distances after re-ranking; all queries are then one block.
    """
    figures = {metric.name: 0.0 for metric in metrics}
    has_positive = np.zeros(len(query), dtype=bool)
    similarities = reranked or Similarities(query, gallery)
    for part in parts_of(len(query), len(query) if reranked else block_size):
        block = similarities.of(part)
        of_junk = block.min() - 1 if reranked else 0
        relevant = np.zeros(block.shape, dtype=bool)
        for row, number in enumerate(range(part.start, part.stop)):
            positives, removed = candidates.of(number)
            relevant[row, positives] = True
            block[row, removed] = of_junk
        has_positive[part] = relevant.any(axis=1)
        share = len(block) / len(query)
        for metric in metrics:
            figures[metric.name] += share * reference_metric(block, relevant, metric)
    return figures, has_positive


def reference_metric(similarity: npt.NDArray[Any], relevant: npt.NDArray[np.bool_], metric: Metric) -> float:
    """One figure of a block.

    Similarities (Q, G) and which gallery items count as a hit of each query, (Q, G).
    """
    order = np.argsort(-similarity, axis=1, kind="stable")
    hits = np.take_along_axis(relevant, order, axis=1)
    valid = hits.any(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        if metric.family == "precision@":
            return float(hits[:, : metric.k].sum(axis=1).mean() / np.float64(metric.k))
        if metric.family == "recall@":
            return float(hits[:, : metric.k].any(axis=1).sum() / np.float64(valid.sum()))
        hits = hits[valid]
        positives = hits.sum(axis=1)
        if metric.family == "mAP":
            precision = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
            return _mean((precision * hits).sum(axis=1) / positives)
        if metric.family == "mINP":
            last = hits.shape[1] - 1 - np.argmax(hits[:, ::-1], axis=1)
            return _mean(positives / last.astype(np.float64))
    raise ValueError(f"the reference has no metric '{metric.name}'")


def _mean(values: npt.NDArray[np.float64]) -> float:
    return float(values.mean()) if values.size else float("nan")
