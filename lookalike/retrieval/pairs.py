"""Similarities of all pairs of a query and a gallery item, counted: which of them show the same thing?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lookalike.retrieval.blocks import FloatArray, IntArray

_BITS = 14

_GROUPS = 64
"""Queries are counted in so many groups, of which a bootstrap draws: their similarities are not kept."""

_FINER_BITS = 10
"""A bin that is too coarse is divided into 2^10 at a time: from 2^-14 to what float32 tells apart below 1."""

_DRAWN = 2**23
"""Counts of draws that a bootstrap holds at a time."""


class PairBins:
    """Pairs counted by their similarity in bins of one width, and those below and above all bins.

    by_group: for positives and for others, (groups, bins + 2).
    """

    def __init__(self, first: float, bins: int, width: float, groups: IntArray) -> None:
        """The first bin begins at `first * width`, width a power of two; groups: (Q,) that of each query."""
        self.first, self.bins, self.width, self.groups = first, bins, width, groups
        self.by_group: tuple[IntArray, IntArray] = (
            np.zeros((_GROUPS, bins + 2), dtype=np.int64),
            np.zeros((_GROUPS, bins + 2), dtype=np.int64),
        )

    def add(self, query: int, row: FloatArray, positives: IntArray, removed: IntArray) -> None:
        """Count the pairs of the query of this number: similarities (G,), which items are right or out."""
        kind = row.dtype.type
        # exact: the width is a power of two, and edges are no finer than numbers of the row's type
        places = np.floor(row / kind(self.width)) - kind(self.first)
        bins = np.clip(places, -1, self.bins, out=places).astype(np.int64) + 1
        of_positives, of_others = (each[self.groups[query]] for each in self.by_group)
        right = self._counts(bins[positives])
        of_positives += right
        of_others += self._counts(bins) - right
        if removed.size:
            of_others -= self._counts(bins[removed])

    def forget(self) -> None:
        """Give the memory of the counts back."""
        self.by_group = (np.zeros((0, 2), np.int64), np.zeros((0, 2), np.int64))

    def _counts(self, bins: IntArray) -> IntArray:
        return np.bincount(bins, minlength=self.bins + 2)


class PairCounts:
    """How many pairs of each kind have a similarity within each of some 32,000 bins.

    edges: (B + 1,) ascending; a pair is in bin i where `edges[i] <= similarity < edges[i + 1]`, exactly:
        edges are whole multiples of powers of two, 2^-14 for unit vectors and smaller ones where bins were
        divided.
    positives: (B,) pairs of one label. others: (B,) pairs of two. The pair of an image with itself and
        junk are in neither. Where query and gallery are one set, each pair is counted from both its ends.

    Where similarities lie close together, a bin holds many pairs: `crowded` bins are counted again, in finer
        ones that take their place, for the rates that are asked for.
    """

    def __init__(self, largest: float, queries: int) -> None:
        """`largest`: no similarity is larger in absolute value. `queries`: how many there are."""
        # unit vectors may be longer than 1 by rounding, which should not double the width of a bin
        exponent = math.ceil(math.log2(largest * (1 - 1e-3))) if largest > 0 else 0
        width = 2.0 ** (exponent - _BITS)
        half = math.ceil(largest / width) + 1
        # at random, or groups would be classes where the list goes through the classes in turn
        groups = np.random.default_rng(0).permutation(queries) % _GROUPS
        self.bins = PairBins(-half, 2 * half, width, groups)
        self.edges: npt.NDArray[np.float64] = np.arange(-half, half + 1, dtype=np.float64) * width
        self._finer: tuple[IntArray, IntArray] | None = None

    @property
    def by_group(self) -> tuple[IntArray, IntArray]:
        """Positives and others of each group of queries: (groups, B) each."""
        if self._finer is not None:
            return self._finer
        positives, others = self.bins.by_group
        return positives[:, 1:-1], others[:, 1:-1]

    @property
    def positives(self) -> IntArray:
        return self.by_group[0].sum(axis=0)

    @property
    def others(self) -> IntArray:
        return self.by_group[1].sum(axis=0)

    @property
    def memory(self) -> int:
        """Bytes that the counts take."""
        return sum(each.nbytes for each in self.by_group)

    def crowded(self, rates: Sequence[float], kind: npt.DTypeLike) -> dict[int, PairBins]:
        """The bins that decide about thresholds and hold too many pairs, each with finer ones to count in.

        Too many are 1/2000 of all positives, or 1/50 of the others that may be accepted. The bins beside a
        deciding one count too: with other queries, the threshold would lie there.
        kind: the type of the similarities; no bin is narrower than what lies between two of its numbers.
        """
        told = np.finfo(kind)
        positives, others = self.positives, self.others
        if not positives.any() or not others.any():
            return {}
        false = _share_from(others)
        found: dict[int, PairBins] = {}
        # with this bin, too many would be accepted
        deciding = [(rate, int(np.argmax(false <= rate)) - 1) for rate in rates]
        for rate, place in [(rate, at + beside) for rate, at in deciding for beside in (-1, 0, 1) if at >= 0]:
            if not 0 <= place < len(positives):
                continue
            many = positives[place] > positives.sum() / 2000 or others[place] > rate * others.sum() / 50
            low, high = float(self.edges[place]), float(self.edges[place + 1])
            between = float(told.eps) * 2.0 ** (math.ceil(math.log2(max(abs(low), abs(high)))) - 1)
            bits = min(_FINER_BITS, math.floor(math.log2((high - low) / between)))
            finer = (high - low) * 2.0**-bits
            if many and bits > 0 and finer > float(told.tiny):
                found[place] = PairBins(low / finer, 2**bits, finer, self.bins.groups)
        return found

    def replace(self, finer: Mapping[int, PairBins]) -> None:
        """Put finer bins into the places of those that `crowded` named, once all pairs are counted."""
        edges: list[npt.NDArray[np.float64]] = []
        positives: list[IntArray] = []
        others: list[IntArray] = []
        start = 0
        for place in [*sorted(finer), len(self.edges) - 1]:
            edges.append(self.edges[start:place])
            for old, pieces in zip(self.by_group, (positives, others), strict=True):
                pieces.append(old[:, start:place])
            if place in finer:
                new = finer[place]
                edges.append((np.arange(new.bins, dtype=np.float64) + new.first) * new.width)
                for added, pieces in zip(new.by_group, (positives, others), strict=True):
                    pieces.append(added[:, 1:-1])
            start = place + 1
        self.edges = np.concatenate([*edges, self.edges[-1:]])
        self._finer = np.concatenate(positives, axis=1), np.concatenate(others, axis=1)
        self.bins.forget()

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

        The threshold is at most one bin above the best one, so the rate is never too good; of a rate that was
        asked for, it is too low by 0.0005 at most, but for ties.
        """
        threshold = self.threshold_at(false_accept_rate)
        thresholds, _, true = self.accepted()
        return float(true[np.searchsorted(thresholds, threshold)])

    def interval(
        self, false_accept_rate: float, confidence: float = 0.95, resamples: int = 1000, seed: int = 0
    ) -> tuple[float, float]:
        """Bootstrap interval of `true_accept_rate`: how it would vary with other queries.

        Queries are drawn with replacement in 64 random groups, and each draw has a threshold of its own. The
        figure itself where there is one group only. Raises ValueError for a confidence outside of 0..1.
        """
        if not 0 < confidence < 1:
            raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
        figure = self.true_accept_rate(false_accept_rate)  # says what is wrong with the rate or the pairs
        met = np.flatnonzero(sum(each.sum(axis=1) for each in self.by_group))
        if len(met) < 2:
            return figure, figure
        positives, others = (each[met].astype(np.float64) for each in self.by_group)
        generator = np.random.default_rng(seed)
        rates = []
        at_once = max(1, _DRAWN // positives.shape[1] // 8)
        for start in range(0, resamples, at_once):
            count = min(at_once, resamples - start)
            times = generator.multinomial(len(met), np.full(len(met), 1 / len(met)), size=count)
            accepted, right = (_from_above(times @ each) for each in (others, positives))
            for false, true in zip(accepted, right, strict=True):
                if false[0] and true[0]:
                    rates.append(true[np.argmax(false <= false_accept_rate * false[0])] / true[0])
        low, high = np.quantile(rates, [(1 - confidence) / 2, (1 + confidence) / 2])
        return float(low), float(high)

    def area(self) -> float:
        """Area under the curve of true against false accept rates.

        The probability that a pair of one label is more alike than a pair of two; pairs of one bin count
        half.
        """
        _, false, true = self.accepted()
        return float(-np.sum(np.diff(false) * (true[1:] + true[:-1]) / 2))


def _share_from(counts: IntArray) -> npt.NDArray[np.float64]:
    """Share of what lies in each bin or a later one, with a last 0."""
    later = _from_above(counts)
    return later / later[0]


def _from_above(counts: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """How many lie in each bin or a later one, with a last 0: (…, B) -> (…, B + 1)."""
    later = np.cumsum(counts[..., ::-1], axis=-1)[..., ::-1]
    return np.concatenate([later, np.zeros_like(later[..., :1])], axis=-1)
