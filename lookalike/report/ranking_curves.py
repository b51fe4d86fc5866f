"""How soon right answers come: recall at k, and precision against recall."""

from __future__ import annotations

import math

import numpy as np

from lookalike.report.chart import Chart, drawing, percent, ticks
from lookalike.report.page import table
from lookalike.report.view import View

MOST = 50
_TOLD = (1, 2, 5, 10, 20, 50)
_ROOM = 34
"""What the text beside a point needs, so that the next one does not cover it."""


def ranking_curves(view: View) -> str:
    """Two charts and their numbers, over the queries that have a match."""
    scored = view.result.has_positive
    first, positives = view.result.first_hit_rank, view.result.positives
    assert first is not None
    assert positives is not None
    depth = min(MOST, view.top.indices.shape[1])
    ranks = np.arange(1, depth + 1)
    found = np.bincount(np.minimum(first[scored], depth + 1), minlength=depth + 2).cumsum()
    recall = found[1:-1] / found[-1]
    hits = np.cumsum(view.hits[scored][:, :depth], axis=1, dtype=np.int32)
    precision = hits.mean(axis=0) / ranks
    coverage = (hits / positives[scored][:, None]).mean(axis=0)
    shown = [k for k in _TOLD if k <= depth]
    rows = [
        [str(k), percent(recall[k - 1]), percent(precision[k - 1]), percent(coverage[k - 1])] for k in shown
    ]
    numbers = table(["answers looked at", "one is right", "of them right", "of all right ones"], rows)
    return (
        f"<div class='charts'>{_recall(recall, shown)}{_precision(precision, coverage, shown)}</div>"
        f"<details><summary>The curves in numbers</summary>{numbers}</details>"
    )


def _recall(recall: np.ndarray, shown: list[int]) -> str:
    low = max(0.0, math.floor(10 * float(recall[0]) - 0.5) / 10) if recall[0] > 0.5 else 0.0
    chart = Chart((1, max(len(recall), 2)), (low, 1.0), log=True)
    body = chart.axes(("answers looked at (k)", "recall@k"), shown, ticks(low, 1.0), percent)
    body += chart.line([(k + 1, float(value)) for k, value in enumerate(recall)], [k - 1 for k in shown])
    told = ", ".join(f"{percent(recall[k - 1])} at {k}" for k in shown)
    cut = "" if low == 0 else f" The axis starts at {percent(low)}."
    return drawing(
        "A right picture among the first k",
        f"Recall at k: {told}",
        body,
        f"<p class='soft'>Share of queries with at least one right picture among the first k.{cut}</p>",
    )


def _precision(precision: np.ndarray, coverage: np.ndarray, shown: list[int]) -> str:
    chart = Chart((0.0, 1.0), (0.0, 1.0))
    body = chart.axes(
        ("recall: share of all right pictures found", "precision"),
        ticks(0, 1),
        ticks(0, 1),
        percent,
        percent,
    )
    points = list(zip(coverage.tolist(), precision.tolist(), strict=True))
    body += chart.line(points, [k - 1 for k in shown])
    last = -math.inf
    for k in shown:
        if (across := chart.place(*points[k - 1])[0]) >= last + _ROOM:
            body += chart.note(*points[k - 1], f"k={k}", shift=(5, -8))
            last = across
    told = ", ".join(f"at {k}: {percent(precision[k - 1])} of {percent(coverage[k - 1])}" for k in shown)
    return drawing(
        "Precision and recall",
        f"Precision and recall of the first k answers, {told}",
        body,
        f"<p class='soft'>How many of the first k answers are right, against how many of all right pictures "
        f"they hold; k = 1 … {len(precision)}, means over queries.</p>",
    )
