"""Figures at a rate of false accepts, which depend on one threshold for all queries and not on ranks alone.

They are asked for by name as other metrics are: `TAR@FAR=0.001`, `DIR@FAR=0.01`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lookalike.retrieval.thresholds import threshold_at

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


def identified(
    has_positive: npt.NDArray[np.bool_],
    best_positive: npt.NDArray[Any],
    best_other: npt.NDArray[Any],
    false_accept_rate: float,
) -> npt.NDArray[np.float64]:
    """DIR of each query: 1 where b >= t and b > o; 0 elsewhere, and where there is no right item: (Q,).

    b, o: `best_positive` and `best_other`, (Q,). t is the threshold of `threshold_at` for the scores o of the
        unknown queries: those without a right item or, where all have one, every query as if its class were
        not in the gallery.

    Raises ValueError where no unknown query has an item to be mistaken for.
    """
    best_positive, best_other = (np.asarray(each, dtype=np.float64) for each in (best_positive, best_other))
    unknown = ~has_positive if not has_positive.all() else has_positive
    wrong = best_other[unknown & ~np.isneginf(best_other)]
    if not wrong.size:
        raise ValueError("DIR@FAR needs queries that can be mistaken for an item of another class")
    threshold = threshold_at(wrong, false_accept_rate)
    right = has_positive & (best_positive >= threshold) & (best_positive > best_other)
    return right.astype(np.float64)
