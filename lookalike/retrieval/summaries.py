"""What values per query say of all queries: by class, and how sure one can be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

_DRAWS_AT_ONCE = 2**22


@dataclass(frozen=True)
class ClassMeans:
    """Means of a metric by class: labels (C,) ascending, queries (C,) of each, values (C,) their means."""

    labels: npt.NDArray[Any]
    queries: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]

    @property
    def macro(self) -> float:
        """Mean over classes: each counts alike, however many queries it has."""
        return float(self.values.mean())


def class_means(values: Any, labels: Any) -> ClassMeans:
    """Mean of values (Q,) over the queries of each label (Q,).

    >>> class_means([1.0, 0.0, 1.0], ["a", "a", "b"]).macro
    0.75
    """
    known, codes = np.unique(np.asarray(labels), return_inverse=True)
    counts = np.bincount(codes.reshape(-1), minlength=len(known))
    sums = np.bincount(codes.reshape(-1), weights=np.asarray(values, dtype=np.float64), minlength=len(known))
    return ClassMeans(known, counts.astype(np.int64), sums / counts)


def bootstrap_interval(
    values: Any, confidence: float = 0.95, resamples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Interval of the mean of values (Q,) by the percentile bootstrap: Q of them drawn with replacement.

    (low, high) are the quantiles (1 - confidence) / 2 and (1 + confidence) / 2 of the means of `resamples`
    such draws. It says how the figure would vary with other queries, not with another gallery or training.
    Efron, "Bootstrap methods" (1979). Raises ValueError for no values and a confidence outside of 0..1.
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or not sample.size:
        raise ValueError(f"an interval needs a vector of values, got shape {sample.shape}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    generator = np.random.default_rng(seed)
    means = np.empty(resamples)
    at_once = max(1, _DRAWS_AT_ONCE // sample.size)
    for start in range(0, resamples, at_once):
        stop = min(start + at_once, resamples)
        drawn = generator.integers(0, sample.size, (stop - start, sample.size), dtype=np.int32)
        means[start:stop] = sample[drawn].mean(axis=1)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def exact_where_all_agree(
    interval: tuple[float, float], trials: int, confidence: float = 0.95
) -> tuple[float, float]:
    """The bootstrap interval of a share, or the exact one where all of its draws are 1, or all are 0.

    What is drawn from units that agree has no width, though the next unit may differ. With alpha = 1 -
    confidence, n = `trials` units and all of them 1, the interval is ((alpha / 2)^(1 / n), 1); with all 0 it
    is (0, 1 - (alpha / 2)^(1 / n)). `trials` is the number of independent units that were drawn from.

    It also holds for a mean of values between 0 and 1, which is at least the share of those that are 1 and
    at most the share of those above 0. Clopper, Pearson, "The use of confidence or fiducial limits
    illustrated in the case of the binomial" (1934).

    >>> [round(bound, 3) for bound in exact_where_all_agree((1.0, 1.0), trials=55)]
    [0.935, 1.0]
    """
    bound = float(((1 - confidence) / 2) ** (1 / trials))
    if interval == (1.0, 1.0):
        return bound, 1.0
    if interval == (0.0, 0.0):
        return 0.0, 1 - bound
    return interval
