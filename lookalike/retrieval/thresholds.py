"""From which similarity on two things are taken for the same: thresholds for a wanted rate of false accepts.

A score that equals a threshold is accepted, here and in the search of a gallery.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.float64]


def detection_and_identification_rate(
    best_positive: Any, best_other: Any, unknown_best: Any, false_alarm_rate: float
) -> float:
    """DIR at a false-alarm rate f: share of known queries with b >= t and b > o.

    b, o: (Q,) `best_positive` and `best_other` of queries whose class is in the gallery (`Result` of
        `evaluate_retrieval` has both); those without a right item (-inf) are left out.
    unknown_best: (U,) the highest similarity to any item of queries whose class is not in the gallery.
    t is the threshold at which at most a share f of `unknown_best` is accepted: see `threshold_at`.

    A query that is as near to a wrong item counts as missed. Phillips, Grother and Micheals, "Evaluation
    Methods in Face Recognition" (Handbook of Face Recognition, 2011), where f is the false alarm rate; later
    texts call it the false positive identification rate. Raises ValueError without known or unknown queries.

    >>> detection_and_identification_rate([0.9, 0.6, 0.8], [0.2, 0.3, 0.85], [0.5, 0.7], 0.5)
    0.6666666666666666
    >>> detection_and_identification_rate([0.9, 0.6, 0.8], [0.2, 0.3, 0.85], [0.5, 0.7], 0.0)
    0.3333333333333333
    """
    positive, other = _scores(best_positive, "best_positive"), _scores(best_other, "best_other")
    if positive.shape != other.shape:
        raise ValueError(
            f"{len(positive)} best_positive do not fit {len(other)} best_other: one of each a query"
        )
    known = ~np.isneginf(positive)
    if not known.any():
        raise ValueError("a rate of identification needs queries whose class is in the gallery")
    threshold = threshold_at(unknown_best, false_alarm_rate)
    return float(((positive >= threshold) & (positive > other))[known].mean())


def threshold_at(wrong: Any, rate: float, resolution: float = 0.0) -> float:
    """The smallest t with at most this share of wrong scores accepted: #{w >= t} / N <= rate.

    A score that equals the threshold is accepted. Of N scores, floor(rate * N) may be, so with fewer than 1 /
    rate of them none is, and t lies just above the highest: see `scores_needed`. For a rate of 1 it is -inf.

    wrong: (N,) scores that should not be accepted. resolution: by how much scores differ that are not equal;
        t lies half of it above the highest rejected score, so that rounding does not decide, and the next
        larger number without it.

    >>> threshold_at([0.1, 0.4, 0.2, 0.3], 0.25, resolution=0.1)
    0.35
    """
    scores = _scores(wrong, "wrong scores")
    if not scores.size or not np.isfinite(scores).any():
        raise ValueError("a threshold needs scores that should not be accepted")
    return float(weighted_threshold(np.sort(scores)[::-1], np.ones(len(scores)), rate, resolution))


def scores_needed(rate: float) -> int:
    """The smallest N of which a share `rate` is one score: with fewer, nothing may be accepted wrongly."""
    if not 0 < rate <= 1:
        raise ValueError(f"a false-accept rate lies above 0 and not above 1, got {rate}")
    return int(np.ceil(1 / rate - 1e-9))


def weighted_threshold(descending: Scores, weights: Scores, rate: float, resolution: float) -> float:
    """`threshold_at` of scores that are sorted already, where each counts as often as its weight says."""
    if not 0 <= rate <= 1:
        raise ValueError(f"a false-accept rate lies in 0..1, got {rate}")
    accepted = np.cumsum(weights)  # with each score, how many have at least its rank
    rejected = int(np.searchsorted(accepted, rate * accepted[-1] + 1e-9, side="right"))  # 0.07 * 100 is 7
    if rejected == len(descending):
        return -np.inf
    highest = descending[rejected]
    return float(highest + resolution / 2 if resolution else np.nextafter(highest, np.inf))


def _scores(values: Any, name: str) -> Scores:
    scores = np.asarray(values, dtype=np.float64)
    if scores.ndim != 1 or np.isnan(scores).any():
        raise ValueError(f"{name} must be a vector of numbers, got shape {scores.shape} or NaN in it")
    return scores
