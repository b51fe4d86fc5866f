"""Figures of pairs against loops that follow the definitions word by word."""

from __future__ import annotations

import numpy as np
import pytest

from lookalike.retrieval import fold_accuracy, pair_distances, true_accept_rate
from lookalike.retrieval.verification import THRESHOLDS


def pairs(count: int, seed: int, overlap: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    same = rng.random(count) < 0.5
    distances = np.clip(rng.normal(np.where(same, 1.2, 1.2 + 1 / overlap), 0.4), 0, 4)
    return distances, same


def naive_folds(distances: np.ndarray, same: np.ndarray, folds: int) -> tuple[list[float], list[float]]:
    sizes = [len(distances) // folds + (fold < len(distances) % folds) for fold in range(folds)]
    accuracies, thresholds, start = [], [], 0
    for size in sizes:
        inside = set(range(start, start + size))
        start += size
        best, best_right = 0.0, -1
        for threshold in THRESHOLDS:
            right = sum(
                (distances[i] < threshold) == same[i] for i in range(len(distances)) if i not in inside
            )
            if right > best_right:
                best, best_right = threshold, right
        thresholds.append(best)
        accuracies.append(sum((distances[i] < best) == same[i] for i in inside) / size)
    return accuracies, thresholds


@pytest.mark.parametrize(("count", "folds"), [(40, 10), (37, 10), (23, 4)])
def test_folds_against_a_naive_loop(count: int, folds: int) -> None:
    distances, same = pairs(count, count)
    found = fold_accuracy(distances, same, folds)
    accuracies, thresholds = naive_folds(distances, same, folds)
    assert found.per_fold.tolist() == accuracies
    assert found.accuracy == pytest.approx(np.mean(accuracies), abs=1e-15)
    assert found.deviation == pytest.approx(np.std(accuracies), abs=1e-15)
    assert found.threshold == pytest.approx(np.mean(thresholds), abs=1e-15)


def test_a_fold_does_not_choose_its_own_threshold() -> None:
    """One fold of another distribution: a threshold fit to it would be right, that of the others is wrong."""
    distances = np.array([0.1, 2.0] * 9 + [2.5, 3.9])
    same = np.array([True, False] * 10)
    assert fold_accuracy(distances, same).per_fold.tolist() == [1.0] * 9 + [0.5]


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.1, 0.5, 1.0])
def test_accept_rate_against_every_threshold(rate: float) -> None:
    distances, same = pairs(200, 3, overlap=2.0)
    best = 0.0
    for threshold in [*distances, np.inf]:
        if (distances[~same] < threshold).mean() <= rate + 1e-12:
            best = max(best, (distances[same] < threshold).mean())
    assert true_accept_rate(distances, same, rate) == best


def test_ties_with_a_wrong_pair_are_not_accepted() -> None:
    assert true_accept_rate([0.5, 0.5, 0.4], [True, False, True], 0.0) == 0.5


def test_distances_of_unit_vectors() -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=(5, 8)) for _ in range(2))
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    np.testing.assert_allclose(pair_distances(a, b), 2 - 2 * (a * b).sum(1), atol=1e-12)


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda: fold_accuracy([1.0] * 9, [True] * 9), "10 folds need as many pairs"),
        (lambda: fold_accuracy([1.0, 2.0], [True]), "do not fit"),
        (lambda: fold_accuracy([np.nan] * 10, [True] * 10), "NaN"),
        (lambda: true_accept_rate([1.0], [True], 0.1), "pairs of different ones"),
        (lambda: true_accept_rate([1.0, 2.0], [True, False], 2), "lies in 0..1"),
        (lambda: pair_distances(np.zeros((2, 3)), np.zeros((2, 4))), "one shape"),
    ],
)
def test_messages(run, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run()
