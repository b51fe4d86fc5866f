"""The figures of verification: of two images, whether they show the same identity.

Arrays in, numbers out, as all of this room.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

THRESHOLDS: npt.NDArray[np.float64] = np.arange(0, 4, 0.01)
"""The distances between unit vectors that are tried as thresholds, as is usual for LFW and its relatives."""

Distances = npt.NDArray[np.float64]
Same = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class FoldAccuracy:
    """Accuracy of verification by cross-validation.

    accuracy: mean over the folds. deviation: their standard deviation. threshold: mean of the thresholds
    that the folds were judged by. per_fold: (folds,).
    """

    accuracy: float
    deviation: float
    threshold: float
    per_fold: npt.NDArray[np.float64]


def pair_distances(left: Any, right: Any) -> Distances:
    """|a - b|^2 of each pair of rows of two arrays (N, D): 2 - 2 cos where they have length 1."""
    first, second = np.asarray(left, dtype=np.float64), np.asarray(right, dtype=np.float64)
    if first.shape != second.shape or first.ndim != 2:
        raise ValueError(f"pairs need two arrays of one shape (N, D), got {first.shape} and {second.shape}")
    return np.asarray(np.square(first - second).sum(axis=1))


def fold_accuracy(
    distances: Any, same: Any, folds: int = 10, thresholds: npt.NDArray[np.float64] = THRESHOLDS
) -> FoldAccuracy:
    """Share of pairs that are judged rightly, each fold with the threshold that is best for all the others.

    Pairs nearer than the threshold count as the same. The folds are consecutive pairs, as in the lists of
    LFW, which hold ten such sets; the first ones have one pair more where the number does not divide. Of
    equally good thresholds the smallest is taken. Huang et al., "Labeled Faces in the Wild" (2007).

    Raises ValueError for fewer pairs than folds, and for shapes that do not fit.

    >>> fold_accuracy([0.4, 3.0, 0.4, 2.0], [True, False, True, False], folds=2).accuracy
    1.0
    """
    values, truth = _checked(distances, same)
    if folds < 2:
        raise ValueError(f"cross-validation needs at least 2 folds, got {folds}")
    if len(values) < folds:
        raise ValueError(f"{folds} folds need as many pairs, got {len(values)}")
    # rows: pairs, columns: thresholds
    right = (values[:, None] < thresholds[None, :]) == truth[:, None]
    per_fold, chosen = np.empty(folds), np.empty(folds)
    for number, members in enumerate(np.array_split(np.arange(len(values)), folds)):
        others = np.ones(len(values), dtype=bool)
        others[members] = False
        best = int(np.argmax(right[others].sum(axis=0)))
        chosen[number] = thresholds[best]
        per_fold[number] = right[members, best].mean()
    return FoldAccuracy(float(per_fold.mean()), float(per_fold.std()), float(chosen.mean()), per_fold)


def true_accept_rate(distances: Any, same: Any, false_accept_rate: float) -> float:
    """TAR at FAR: the share of same pairs that are accepted where at most that share of others is.

    Accepted is what is nearer than a threshold, the largest one with which the share of accepted pairs of
    different identities is at most `false_accept_rate`; a pair at the threshold is not. With fewer than 1 /
    FAR such pairs not one of them may be accepted.

    Raises ValueError without same pairs or without others.

    >>> true_accept_rate([0.1, 0.2, 0.9, 0.3, 1.0], [True, True, True, False, False], 0.0)
    0.6666666666666666
    """
    values, truth = _checked(distances, same)
    if not 0 <= false_accept_rate <= 1:
        raise ValueError(f"a false accept rate lies in 0..1, got {false_accept_rate}")
    if truth.all() or not truth.any():
        raise ValueError("TAR at FAR needs pairs of the same identity and pairs of different ones")
    others = np.sort(values[~truth])
    allowed = int(np.floor(false_accept_rate * len(others) + 1e-9))  # 0.001 of 3000 is 3, rounded or not
    threshold = np.inf if allowed >= len(others) else others[allowed]
    return float((values[truth] < threshold).mean())


def _checked(distances: Any, same: Any) -> tuple[Distances, Same]:
    values, truth = np.asarray(distances, dtype=np.float64), np.asarray(same, dtype=bool)
    if values.ndim != 1 or values.shape != truth.shape:
        raise ValueError(f"{values.shape} distances do not fit {truth.shape} truths: one of each a pair")
    if not np.isfinite(values).all():
        raise ValueError("distances hold NaN or infinity")
    return values, truth
