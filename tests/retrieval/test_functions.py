"""The ranking without labels and the figures by one call."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import lookalike.retrieval
from lookalike.retrieval import (
    blocks,
    evaluate_retrieval,
    mean_average_precision,
    mean_average_precision_at_r,
    mean_inverse_negative_penalty,
    mean_reciprocal_rank,
    normalized_discounted_gain,
    precision_at_k,
    r_precision,
    rank,
    recall_at_k,
    true_recall_at_k,
)
from tests.retrieval.oracle import naive

FUNCTIONS = [
    ("recall@3", recall_at_k, {"k": 3}),
    ("true_recall@3", true_recall_at_k, {"k": 3}),
    ("precision@3", precision_at_k, {"k": 3}),
    ("mAP", mean_average_precision, {}),
    ("mAP@3", mean_average_precision, {"k": 3}),
    ("mAP@R", mean_average_precision_at_r, {}),
    ("R-precision", r_precision, {}),
    ("mINP", mean_inverse_negative_penalty, {}),
    ("MRR", mean_reciprocal_rank, {}),
    ("nDCG@3", normalized_discounted_gain, {"k": 3}),
]


def whole_numbers(seed: int, *shape: int) -> np.ndarray:
    """Features whose products are exact, so that ties are ties, with many of them."""
    return np.random.default_rng(seed).integers(-2, 3, shape).astype(np.float32)


def ranked_by_sorting(
    similarities: np.ndarray, k: int, itself: list[int] | None = None
) -> tuple[list[list[int]], list[list[float]]]:
    indices, values = [], []
    for q, row in enumerate(similarities.tolist()):
        places = [g for g in range(len(row)) if itself is None or g != itself[q]]
        places = sorted(places, key=lambda g: -row[g])[:k]  # a stable sort: ties in the order of the gallery
        missing = min(k, len(row)) - len(places)
        indices.append(places + [-1] * missing)
        values.append([row[g] for g in places] + [-np.inf] * missing)
    return indices, values


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 30), st.integers(1, 40), st.booleans())
def test_rank_is_a_stable_sort(seed: int, queries: int, size: int, k: int, binary: bool) -> None:
    features = whole_numbers(seed, queries + size, 4)
    if binary:
        features = np.where(features > 0, 1, -1)
    query, gallery = features[:queries], features[queries:]
    similarities = query @ gallery.T
    positions = np.random.default_rng(seed).integers(-1, size, queries).tolist()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "_COMFORTABLE_BLOCK", 1)
        patch.setattr(blocks, "_FEW_ROWS", 5)  # several blocks
        top = rank(query, gallery, k, binary=binary)
        without = rank(query, gallery, k, exclude_self=positions, binary=binary)
        among_others = rank(gallery, k=k, binary=binary)
        # the processor stands in for an accelerator
        patch.setattr("lookalike.retrieval.functions.accelerator_of", lambda *_: torch.device("cpu"))
        there = rank(query, gallery, k, exclude_self=positions, binary=binary)
    assert (top.indices.tolist(), top.similarities.tolist()) == ranked_by_sorting(similarities, k)
    assert (without.indices.tolist(), without.similarities.tolist()) == ranked_by_sorting(
        similarities, k, positions
    )
    np.testing.assert_array_equal(there.indices, without.indices)
    np.testing.assert_array_equal(there.similarities, without.similarities)
    assert (among_others.indices.tolist(), among_others.similarities.tolist()) == ranked_by_sorting(
        gallery @ gallery.T, k, list(range(size))
    )


def test_rank_takes_tensors_and_half_precision() -> None:
    query, gallery = whole_numbers(0, 3, 8), whole_numbers(1, 9, 8)
    expected = rank(query, gallery, 4).indices.tolist()
    assert rank(torch.from_numpy(query), torch.from_numpy(gallery).bfloat16(), 4).indices.tolist() == expected
    assert rank(query.astype(np.float16), gallery, 4).indices.tolist() == expected


def test_memory_of_rank_is_that_of_the_budget() -> None:
    features = np.random.default_rng(8).normal(size=(1000, 8)).astype(np.float32)
    tracemalloc.start()
    rank(features, k=5, memory_budget=2**18)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20  # all similarities at once are 4 MB


@pytest.mark.parametrize(("name", "function", "options"), FUNCTIONS)
def test_each_function_is_its_figure(name: str, function: Any, options: dict[str, int]) -> None:
    query, gallery = whole_numbers(2, 12, 5), whole_numbers(3, 40, 5)
    labels = np.random.default_rng(4).integers(0, 6, 52)
    data = (query, labels[:12], gallery, labels[12:])
    expected, _ = naive(*data, metrics=[name])
    assert function(*data, **options) == pytest.approx(expected[name], abs=1e-12)
    alone, _ = naive(gallery, labels[12:], gallery, labels[12:], same=lambda q, g: q == g, metrics=[name])
    assert function(gallery, labels[12:], **options) == pytest.approx(alone[name], abs=1e-12)
    assert function(gallery, labels[12:], **options) != pytest.approx(
        function(gallery, labels[12:], gallery, labels[12:], **options)
    )  # with the image itself in the ranking


def test_cameras_of_a_set_searched_in_itself() -> None:
    features, labels = whole_numbers(5, 30, 5), np.random.default_rng(6).integers(0, 4, 30)
    cameras = np.arange(30) % 3
    expected = evaluate_retrieval(
        features, labels, features, labels, cameras, cameras, ["mAP"], exclude_self=True
    )
    assert mean_average_precision(features, labels, query_cameras=cameras) == expected["mAP"]


def test_what_does_not_fit_is_told() -> None:
    features, labels = whole_numbers(7, 4, 3), [0, 0, 1, 1]
    with pytest.raises(ValueError, match="must both be given"):
        recall_at_k(features, labels, features)
    with pytest.raises(ValueError, match="never its own match"):
        recall_at_k(features, labels, exclude_self=False)
    with pytest.raises(ValueError, match="whole number of at least 1"):
        recall_at_k(features, labels, k=0)
    with pytest.raises(ValueError, match="k must be at least 1"):
        rank(features, k=0)
    with pytest.raises(ValueError, match="must come from the same model"):
        rank(features, features[:, :2])


@pytest.mark.parametrize("module", [each.name for each in pkgutil.iter_modules(lookalike.retrieval.__path__)])
def test_examples_of_docstrings(module: str) -> None:
    assert doctest.testmod(importlib.import_module(f"lookalike.retrieval.{module}")).failed == 0
