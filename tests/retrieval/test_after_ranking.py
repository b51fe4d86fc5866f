"""Query expansion, database augmentation and whitening against loops over items."""

from __future__ import annotations

import doctest
from pathlib import Path

import numpy as np
import pytest

from lookalike.retrieval import (
    Whitening,
    augment_database,
    evaluate_retrieval,
    expand_queries,
    expansion,
    rerank,
    whitening,
)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def features() -> np.ndarray:
    return unit(np.random.default_rng(0).normal(size=(30, 6)))


def moved(row, others, k, alpha):
    nearest = sorted(others, key=lambda other: -float(row @ other))[:k]
    total = row + sum(max(float(row @ other), 0.0) ** alpha * other for other in nearest)
    return total / np.linalg.norm(total)


@pytest.mark.parametrize("alpha", [0.0, 3.0])
@pytest.mark.parametrize("k", [1, 4, 50])
def test_each_item_and_its_neighbours(features: np.ndarray, k: int, alpha: float, monkeypatch) -> None:
    monkeypatch.setattr(expansion, "_GATHERED", 1)
    query, gallery = features[:8], features[8:]
    expected = [moved(row, gallery, k, alpha) for row in query]
    np.testing.assert_allclose(expand_queries(query, gallery, k, alpha), expected, rtol=0, atol=1e-12)
    half = query.astype(np.float16)  # from which float32 is made
    expected = [moved(row, gallery, k, alpha) for row in half.astype(np.float64)]
    np.testing.assert_allclose(expand_queries(half, gallery, k, alpha), expected, rtol=0, atol=2e-7)

    expected = [moved(row, np.delete(gallery, place, 0), k, alpha) for place, row in enumerate(gallery)]
    np.testing.assert_allclose(augment_database(gallery, k, alpha), expected, rtol=0, atol=1e-12)


def test_expansion_and_augmentation_find_more() -> None:
    generator = np.random.default_rng(3)
    labels = np.arange(120) % 6
    rows = unit(generator.normal(size=(6, 16))[labels] + 1.3 * generator.normal(size=(120, 16)))
    query, gallery = rows[:40], rows[40:]

    def score(query: np.ndarray, gallery: np.ndarray) -> float:
        return evaluate_retrieval(query, labels[:40], gallery, labels[40:], metrics=["mAP"])["mAP"]

    plain = score(query, gallery)
    assert score(expand_queries(query, gallery, 5, 3), gallery) > plain + 0.02
    assert score(query, augment_database(gallery, 5, 3)) > plain + 0.02


def test_what_cannot_be_expanded(features: np.ndarray) -> None:
    with pytest.raises(ValueError, match="30 of 30 gallery features are not of length 1"):
        augment_database(3 * features)
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        expand_queries(features, features, 0)
    with pytest.raises(ValueError, match="alpha must be at least 0, got -1"):
        expand_queries(features, features, 1, -1)
    with pytest.raises(ValueError, match="6 dimensions and gallery features 4"):
        expand_queries(features, unit(features[:, :4]))


def test_whitened_training_features_are_uncorrelated(tmp_path: Path, monkeypatch) -> None:
    generator = np.random.default_rng(1)
    training = generator.normal(size=(400, 5)) @ generator.normal(size=(5, 5)) + 3
    learned = Whitening.learn(training)
    whitened = (training - learned.mean) @ learned.projection.T
    np.testing.assert_allclose(whitened.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(whitened.T @ whitened / 400, np.eye(5), atol=1e-10)
    np.testing.assert_allclose(learned.apply(training), unit(whitened), rtol=0, atol=1e-12)
    # the first dimensions are those of largest variance
    few = Whitening.learn(training, 2)
    np.testing.assert_array_equal(few.projection, learned.projection[:2])
    assert np.all(np.diff(np.linalg.norm(learned.projection, axis=1)) > 0)
    # in pieces, from the disk
    monkeypatch.setattr("lookalike.retrieval.blocks._CHUNK", 1000)
    np.savez(tmp_path / "whitening.npz", **learned.to_arrays())
    with np.load(tmp_path / "whitening.npz") as stored:
        again = Whitening(**stored)
    np.testing.assert_array_equal(again.projection, learned.projection)
    np.testing.assert_allclose(Whitening.learn(training).projection, learned.projection, atol=1e-10)
    assert learned.apply(training.astype(np.float16)).dtype == np.float32


def test_what_cannot_be_whitened(features: np.ndarray) -> None:
    with pytest.raises(ValueError, match="4 training features vary in 3 directions only"):
        Whitening.learn(features[:4])
    with pytest.raises(ValueError, match="vary in 0 directions only"):
        Whitening.learn(np.ones((9, 2)))
    with pytest.raises(ValueError, match="dimensions must be between 1 and 6, got 7"):
        Whitening.learn(features, 7)
    with pytest.raises(ValueError, match="4 dimensions and the whitening was learned from 6"):
        Whitening.learn(features).apply(features[:, :4])
    with pytest.raises(ValueError, match=r"shapes \(2,\) and \(3, 4\)"):
        Whitening(np.zeros(2), np.zeros((3, 4)))


@pytest.mark.parametrize("module", [expansion, rerank, whitening])
def test_examples(module) -> None:
    assert doctest.testmod(module).failed == 0
