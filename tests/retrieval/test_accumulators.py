"""The metrics over scored items by the definition: one query, one item at a time."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lookalike.retrieval import (
    RetrievalHitRate,
    RetrievalMAP,
    RetrievalMRR,
    RetrievalNormalizedDCG,
    RetrievalPrecision,
    RetrievalRecall,
    RetrievalRPrecision,
)


def mean_of_precisions(gains: list[float], k: int) -> float:
    found = [place for place, gain in enumerate(gains[:k], 1) if gain]
    return sum(number / place for number, place in enumerate(found, 1)) / len(found) if found else 0.0


def reciprocal(gains: list[float], k: int) -> float:
    return next((1 / place for place, gain in enumerate(gains[:k], 1) if gain), 0.0)


def discounted(gains: list[float], k: int) -> float:
    return sum(gain / math.log2(1 + place) for place, gain in enumerate(gains[:k], 1))


NAIVE: dict[type, Callable[[list[float], int], float]] = {
    RetrievalMAP: mean_of_precisions,
    RetrievalMRR: reciprocal,
    RetrievalPrecision: lambda gains, k: sum(gains[:k]) / k,
    RetrievalRecall: lambda gains, k: sum(gains[:k]) / sum(gains),
    RetrievalHitRate: lambda gains, k: float(any(gains[:k])),
    RetrievalRPrecision: lambda gains, k: sum(gains[: int(sum(gains))]) / sum(gains),
    RetrievalNormalizedDCG: lambda gains, k: (
        discounted(gains, k) / discounted(sorted(gains, reverse=True), k)
    ),
}
EMPTY = {"neg": [0.0], "pos": [1.0], "skip": []}


def naive(
    metric: type, scores: np.ndarray, gains: np.ndarray, queries: np.ndarray, top_k: int | None, empty: str
) -> list[float]:
    """The value of each query, in ascending order of their numbers."""
    values: list[float] = []
    for query in sorted(set(queries.tolist())):
        items = [(s, g) for s, g, q in zip(scores, gains, queries, strict=True) if q == query]
        items.sort(key=lambda item: (-item[0], item[1]))  # ties with the less right item first
        ranked = [float(gain) for _, gain in items]
        values += [NAIVE[metric](ranked, top_k or len(ranked))] if any(ranked) else EMPTY[empty]
    return values


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(list(NAIVE)),
    st.integers(0, 2**32 - 1),
    st.integers(1, 40),
    st.sampled_from([None, 1, 3, 50]),
    st.sampled_from(list(EMPTY)),
    st.sampled_from(["mean", "median", "min", "max"]),
)
def test_formulas(
    metric: type, seed: int, items: int, top_k: int | None, empty: str, aggregation: str
) -> None:
    generator = np.random.default_rng(seed)
    scores = generator.integers(-3, 4, items) / 4  # with ties, and below 0
    gains = generator.integers(0, 4 if metric is RetrievalNormalizedDCG else 2, items)
    gains = np.where(generator.random(items) < 0.4, 0, gains)
    queries = generator.integers(-2, 5, items)
    options: dict[str, Any] = {"empty_target_action": empty, "aggregation": aggregation}
    if metric is not RetrievalRPrecision:
        options["top_k"] = top_k
    found = metric(**options)
    cut = int(generator.integers(0, items))
    for part in (slice(0, cut), slice(cut, None)) if cut else (slice(None),):
        found.update(scores[part], gains[part], queries[part])
    values = naive(metric, scores, gains, queries, top_k, empty) or [0.0]
    aggregate = {"mean": statistics.fmean, "median": statistics.median_low, "min": min, "max": max}
    assert found.compute() == pytest.approx(aggregate[aggregation](values), abs=1e-12)


def test_adaptive_k_divides_by_what_there_is() -> None:
    items = [0.9, 0.8, 0.7], [1, 0, 1], [4, 4, 4]
    assert RetrievalPrecision(top_k=5)(*items) == pytest.approx(2 / 5)
    assert RetrievalPrecision(top_k=5, adaptive_k=True)(*items) == pytest.approx(2 / 3)
    assert RetrievalPrecision(top_k=2, adaptive_k=True)(*items) == pytest.approx(1 / 2)


def test_tensors_of_any_shape_and_what_is_ignored() -> None:
    scores, target = torch.tensor([[0.9, 0.8], [0.3, 0.6]]), torch.tensor([[-100, 1], [1, 0]])
    indexes = torch.tensor([[0, 0], [1, 1]])
    metric = RetrievalMRR(ignore_index=-100)
    metric.update(scores, target=target, indexes=indexes)
    assert metric.compute().item() == pytest.approx((1 + 1 / 2) / 2)
    metric.reset()
    metric.update(scores.bfloat16(), target == 1, indexes)
    assert metric.compute() == pytest.approx((1 / 2 + 1 / 2) / 2)


def test_a_call_tells_the_batch_and_keeps_it() -> None:
    metric = RetrievalHitRate(top_k=1)
    assert metric([0.9, 0.8], [1, 0], [0, 0]) == 1.0
    assert metric([0.9, 0.8], [0, 1], [1, 1]) == 0.0
    assert metric.compute() == 0.5
    metric.reset()
    with pytest.raises(ValueError, match="call update"):
        metric.compute()


def test_an_aggregation_of_ones_own() -> None:
    metric = RetrievalHitRate(top_k=1, aggregation=lambda values: values.tolist())
    assert metric([0.9, 0.8, 0.7], [1, 0, 1], [3, 7, 7]) == [1.0, 0.0]


def test_what_does_not_fit_is_told() -> None:
    with pytest.raises(ValueError, match="query 7 has nothing right"):
        RetrievalMAP(empty_target_action="error")([0.9, 0.8, 0.7], [1, 0, 0], [3, 7, 7])
    for options in ({"empty_target_action": "zero"}, {"top_k": 0}, {"aggregation": "sum"}):
        with pytest.raises(ValueError, match=f"{next(iter(options))} must be"):
            RetrievalMAP(**options)
    for items, sentence in (
        (([0.9], [1, 0], [0, 0]), "of one shape and not empty"),
        (([], [], []), "of one shape and not empty"),
        (([0.9], [1], [0.0]), "indexes must be whole numbers"),
        (([float("nan")], [1], [0]), "preds hold NaN"),
        (([True], [1], [0]), "preds must be real numbers"),
        (([0.9], [2], [0]), "only 0 and 1"),
    ):
        with pytest.raises(ValueError, match=sentence):
            RetrievalMAP().update(*items)
    with pytest.raises(ValueError, match="finite numbers of 0 or more"):
        RetrievalNormalizedDCG().update([0.9], [-1], [0])
