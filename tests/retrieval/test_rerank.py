"""Re-ranking with sparse rows against the paper's sets and formulas, item by item."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookalike.retrieval import evaluate_retrieval
from lookalike.retrieval.rerank import RerankedSimilarities, rerank_distances


def by_the_paper(items, k1, k2, lamb):
    """Distances of all items to all items: sets for neighbourhoods, a dense V, all in float64."""
    count = len(items)
    distances = np.array([[float(np.sum((a - b) ** 2)) for b in items] for a in items])
    orders = [sorted(range(count), key=lambda j, i=i: (j != i, distances[i][j], j)) for i in range(count)]
    farthest = distances.max(axis=1, keepdims=True)
    distances = distances / np.where(farthest > 0, farthest, 1)

    def near(i, k):
        return set(orders[i][: k + 1])

    def mutual(i, k):
        return {j for j in near(i, k) if i in near(j, k)}

    weights = np.zeros((count, count))
    for i in range(count):
        own = mutual(i, k1)
        members = set(own)
        for j in own:
            theirs = mutual(j, round(k1 / 2))
            if 3 * len(theirs & own) > 2 * len(theirs):
                members |= theirs
        for j in members:
            weights[i, j] = np.exp(-distances[i, j])
        weights[i] /= weights[i].sum()
    averaged = np.array([np.mean([weights[j] for j in orders[i][:k2]], axis=0) for i in range(count)])
    jaccard = np.array(
        [[1 - np.minimum(a, b).sum() / np.maximum(a, b).sum() for b in averaged] for a in averaged]
    )
    return (1 - lamb) * jaccard + lamb * distances


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_the_distances_of_the_paper(data) -> None:
    """Small whole numbers as features: many ties and copies, and no product is rounded."""
    queries, gallery = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 20))
    seed, high = data.draw(st.integers(0, 10**6)), data.draw(st.integers(1, 6))
    items = np.random.default_rng(seed).integers(0, high, (queries + gallery, 3)).astype(np.float64)
    k1, k2 = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9))
    lamb = data.draw(st.sampled_from([0.0, 0.3, 1.0]))
    dtype = data.draw(st.sampled_from([np.float64, np.float32]))

    actual = rerank_distances(
        items[:queries].astype(dtype), items[queries:].astype(dtype), False, k1, k2, lamb,
        memory_budget=data.draw(st.sampled_from([1, 2**20])),
    )  # fmt: skip
    expected = by_the_paper(items, k1, k2, lamb)[:queries, queries:]
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-12 if dtype == np.float64 else 2e-6)


@pytest.fixture(scope="module")
def features() -> np.ndarray:
    """Three classes of 20 unit vectors, well mixed."""
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(3, 16))[np.arange(60) % 3] + 1.2 * generator.normal(size=(60, 16))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_one_set_is_not_taken_twice(features: np.ndarray) -> None:
    expected = by_the_paper(features, 8, 3, 0.3)
    source = RerankedSimilarities(features, k1=8, k2=3)
    np.testing.assert_allclose(-source.of(slice(5, 25)), expected[5:25], rtol=0, atol=1e-12)
    same_object = RerankedSimilarities(features, features, k1=8, k2=3).of(slice(5, 25))
    np.testing.assert_array_equal(same_object, source.of(slice(5, 25)))
    # the reference takes it twice, so that each item has a copy among its neighbours
    twice = rerank_distances(features, features, True, 8, 3, 0.3, reference_behaviour=True)
    doubled = rerank_distances(features, features.copy(), True, 8, 3, 0.3)
    np.testing.assert_allclose(twice, doubled, rtol=0, atol=5e-3)
    assert np.abs(twice - expected).max() > 0.05


def test_the_order_of_blocks_and_their_size_change_nothing(features: np.ndarray, monkeypatch) -> None:
    whole = RerankedSimilarities(features[:20], features[20:], k1=8, k2=3)
    expected = whole.of(slice(0, 20))
    monkeypatch.setattr("lookalike.retrieval.sparse_rows.ENTRIES_AT_A_TIME", 50)
    monkeypatch.setattr("lookalike.retrieval.rerank._COMPARISONS", 1)
    source = RerankedSimilarities(features[:20], features[20:], k1=8, k2=3, memory_budget=1)
    for part in (slice(13, 20), slice(0, 13)):
        np.testing.assert_allclose(source.of(part), expected[part], rtol=0, atol=1e-12)


def test_half_precision_features_and_squared_distances_of_unit_vectors(features: np.ndarray) -> None:
    # rounding features to float16 moves distances by 1e-3 at most, and here no neighbour
    half = features.astype(np.float16)
    expected = rerank_distances(half[:20].astype(np.float64), half[20:].astype(np.float64), False)
    np.testing.assert_allclose(rerank_distances(half[:20], half[20:], False), expected, rtol=0, atol=1e-5)
    single = rerank_distances(features[:20], features[20:], feature_normed=False)
    np.testing.assert_allclose(
        rerank_distances(features[:20], features[20:], feature_normed=True), single, rtol=0, atol=1e-9
    )


def test_it_finds_more(features: np.ndarray) -> None:
    labels = np.arange(60) % 3

    def score(**options) -> float:
        return evaluate_retrieval(features, labels, features, labels, exclude_self=True, **options)["mAP"]

    assert score(similarities=RerankedSimilarities(features)) > score() + 0.05


def test_what_cannot_be(features: np.ndarray) -> None:
    with pytest.raises(ValueError, match="longer than 1: normalise them first"):
        rerank_distances(2 * features, features)
    with pytest.raises(ValueError, match="16 dimensions and gallery features 8"):
        rerank_distances(features, features[:, :8])
    for wrong in ({"k1": 0}, {"k2": 0}, {"lamb": 1.5}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            rerank_distances(features, features, **wrong)
