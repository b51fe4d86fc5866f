"""Similarities of all pairs of a query and a gallery item, counted: which of them show the same thing?"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from lookalike.retrieval.blocks import FloatArray, IntArray

_BITS = 14


class PairCounts:
    """How many pairs of each kind have a similarity within each of some 32,000 bins.

    edges: (B + 1,) ascending; a pair is in bin i where `edges[i] <= similarity < edges[i + 1]`, exactly:
        edges are whole multiples of a power of two, 2^-14 for unit vectors.
    positives: (B,) pairs of one label. others: (B,) pairs of two. The pair of an image with itself and
        junk are in neither. Where query and gallery are one set, each pair is counted from both its ends.
    """

    def __init__(self, largest: float) -> None:
        """`largest`: no similarity is larger in absolute value."""
        # unit vectors may be longer than 1 by rounding, which should not double the width of a bin
        exponent = math.ceil(math.log2(largest * (1 - 1e-3))) if largest > 0 else 0
        self.width = 2.0 ** (exponent - _BITS)
        self.zero = math.ceil(largest / self.width) + 1
        self.edges: npt.NDArray[np.float64] = np.arange(-self.zero, self.zero + 1, dtype=np.float64)
        self.edges *= self.width
        self.positives = np.zeros(2 * self.zero, dtype=np.int64)
        self.others = np.zeros(2 * self.zero, dtype=np.int64)

    def add(self, row: FloatArray, positives: IntArray, removed: IntArray) -> None:
        """Count the pairs of one query: its similarities (G,), and which items are right or taken out."""
        bins = np.floor(row / row.dtype.type(self.width)).astype(np.int64) + self.zero
        right = self._counts(bins[positives])
        self.positives += right
        self.others += self._counts(bins) - right
        if removed.size:
            self.others -= self._counts(bins[removed])

    def _counts(self, bins: IntArray) -> IntArray:
        return np.bincount(bins, minlength=len(self.positives))

    def accepted(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """The receiver operating characteristic: (thresholds, false accept rates, true accept rates).

        Accepted is a pair whose similarity is at least the threshold; thresholds are the edges, ascending.
        rate(t) = accepted pairs of a kind / all pairs of that kind. Raises ValueError without pairs of
        either kind.
        """
        for kind, counts in (("one label", self.positives), ("two labels", self.others)):
            if not counts.any():
                raise ValueError(f"there is no pair of {kind}: a rate of accepted pairs needs both kinds")
        return self.edges, _share_from(self.others), _share_from(self.positives)

    def threshold_at(self, false_accept_rate: float) -> float:
        """The smallest threshold (of the edges) with which at most this share of other pairs is accepted."""
        if not 0 <= false_accept_rate <= 1:
            raise ValueError(f"a false accept rate lies in 0..1, got {false_accept_rate}")
        thresholds, false, _ = self.accepted()
        return float(thresholds[np.argmax(false <= false_accept_rate)])

    def true_accept_rate(self, false_accept_rate: float) -> float:
        """TAR at FAR: share of pairs of one label accepted with `threshold_at` that rate.

        The threshold is at most one bin above the best one, so the rate is never too good.
        """
        threshold = self.threshold_at(false_accept_rate)
        thresholds, _, true = self.accepted()
        return float(true[np.searchsorted(thresholds, threshold)])

    def area(self) -> float:
        """Area under the curve of true against false accept rates.

        The probability that a pair of one label is more alike than a pair of two; pairs of one bin count
        half.
        """
        _, false, true = self.accepted()
        return float(-np.sum(np.diff(false) * (true[1:] + true[:-1]) / 2))


def _share_from(counts: IntArray) -> npt.NDArray[np.float64]:
    """Share of what lies in each bin or a later one, with a last 0."""
    later: npt.NDArray[Any] = np.concatenate([np.cumsum(counts[::-1])[::-1], [0]])
    return later / later[0]
