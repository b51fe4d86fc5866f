"""Figures at a rate of false accepts, which depend on one threshold for all queries and not on ranks alone.

They are asked for by name as other metrics are: `TAR@FAR=0.001`, `DIR@FAR=0.01`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lookalike.retrieval.summaries import exact_where_all_agree
from lookalike.retrieval.thresholds import scores_needed, weighted_threshold

RATES = ("TAR", "DIR")
"""TAR at FAR f: the share of the pairs of one label whose similarity is at least t, where at most a share f
of the pairs of two labels has one. See `PairCounts.true_accept_rate`.

DIR (detection and identification rate) at FAR f: the share of queries whose nearest item is right and has a
similarity of at least t, where at most a share f of unknown things has one. See
`detection_and_identification_rate`.
"""


@dataclass(frozen=True)
class Rate:
    """A rate of right answers (`kind` TAR or DIR) where at most a share of wrong ones is accepted."""

    name: str
    kind: str
    false_accept_rate: float

    @property
    def family(self) -> str:
        """The name without its number."""
        return f"{self.kind}@FAR="


def parse_rate(name: str) -> Rate | None:
    """The rate of a name such as `TAR@FAR=0.001` or `DIR@FAR=1e-2`; None where it is no name of a rate.

    Raises ValueError for a false-accept rate that is not between 0 and 1.
    """
    kind, at, told = name.partition("@FAR=")
    if not at or kind not in RATES:
        return None
    try:
        rate = float(told)
    except ValueError:
        rate = -1.0
    if not 0 <= rate < 1:
        raise ValueError(f"metric '{name}' needs a rate from 0 to below 1 after '=', as in '{kind}@FAR=0.01'")
    return Rate(name, kind, rate)


class Identified:
    """DIR of queries, at the threshold that a rate of false accepts leads to.

    b, o: `best_positive` and `best_other`, (Q,). A query is identified where b >= t and b > o. t is the
        threshold of `threshold_at` for the scores o of unknown things. These are the queries without a right
        item, where there are 1 / rate of them or more; else every query serves as one, scored as if its class
        were not in the gallery, which is exactly o.

    tried: how many unknown things the threshold was found on. per_query: (Q,) 1 where it is identified.

    Raises ValueError where no query has an item to be mistaken for.
    """

    def __init__(
        self,
        has_positive: npt.NDArray[np.bool_],
        best_positive: npt.NDArray[Any],
        best_other: npt.NDArray[Any],
        false_accept_rate: float,
    ) -> None:
        self._rate = false_accept_rate
        # in float64, since a threshold lies just above a score
        self._scores = np.asarray(best_positive, np.float64)
        other = np.asarray(best_other, np.float64)
        can_be_mistaken = ~np.isneginf(other)
        unknown = can_be_mistaken & ~has_positive
        if np.count_nonzero(unknown) < (scores_needed(false_accept_rate) if false_accept_rate else 1):
            unknown = can_be_mistaken
        if not unknown.any():
            raise ValueError("DIR@FAR needs queries that can be mistaken for an item of another class")
        self.tried = int(np.count_nonzero(unknown))
        self._known, self._right = has_positive, has_positive & (self._scores > other)
        self._wrong = np.flatnonzero(unknown)
        self._wrong = self._wrong[np.argsort(-other[self._wrong], kind="stable")]
        self._descending = other[self._wrong]
        self.per_query = self._at(np.ones(len(other))).astype(np.float64)

    def _at(self, times: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """Which queries are identified where each unknown one counts so many times."""
        threshold = weighted_threshold(self._descending, times[self._wrong], self._rate, 0.0)
        return self._right & (self._scores >= threshold)

    def interval(self, confidence: float = 0.95, resamples: int = 1000, seed: int = 0) -> tuple[float, float]:
        """Bootstrap interval over queries, drawn with replacement; each draw has a threshold of its own.

        Where all draws are 1, or all are 0, it is that of `lookalike.retrieval.exact_where_all_agree` for the
        known queries.
        """
        if not 0 < confidence < 1:
            raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
        generator = np.random.default_rng(seed)
        count, found = len(self._scores), []
        for _ in range(resamples):
            times = np.bincount(generator.integers(0, count, count), minlength=count).astype(np.float64)
            known = times[self._known].sum()
            if known and times[self._wrong].any():
                found.append(times[self._at(times)].sum() / known)
        low, high = np.quantile(found, [(1 - confidence) / 2, (1 + confidence) / 2])
        return exact_where_all_agree(
            (float(low), float(high)), int(np.count_nonzero(self._known)), confidence
        )
