"""The rank of every positive, found by counting what stands before it; no row of similarities is sorted.

Tie rule: a gallery item that is not a positive and has the same similarity as a positive stands BEFORE it.
    So a tie never helps: figures depend neither on the order of the files nor on the sort of a library, and
    a model that maps everything to one point gets the worst figures, not chance ones. Positives of equal
    similarity take successive ranks among each other.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from lookalike.retrieval.blocks import FloatArray, IntArray, Similarities, check_budget
from lookalike.retrieval.candidates import NOTHING, Candidates
from lookalike.retrieval.pairs import PairBins

_FEW = 32
"""Up to so many positives, comparing the row with each is faster than sorting the rivals once."""


@dataclass(frozen=True)
class Ranking:
    """Ranks of the positives of Q queries that have at least one.

    ranks: (P,) one-based ranks of all positives of the first query, then of the second, …, ascending within
        a query.
    starts: (Q + 1,) where the ranks of each query start; the last entry is P.
    """

    ranks: IntArray
    starts: IntArray

    @cached_property
    def positives(self) -> IntArray:
        """How many positives each query has: (Q,)."""
        return np.diff(self.starts)

    @property
    def first(self) -> IntArray:
        """Rank of the best-placed positive of each query: (Q,)."""
        return self.ranks[self.starts[:-1]]

    @property
    def last(self) -> IntArray:
        """Rank of the worst-placed positive of each query: (Q,)."""
        return self.ranks[self.starts[1:] - 1]

    @cached_property
    def precision_at_hits(self) -> npt.NDArray[np.float64]:
        """For each entry of `ranks`, i / r_i where it is the i-th hit of its query: (P,)."""
        numbers = np.arange(1, len(self.ranks) + 1, dtype=np.int64) - self.of_positives(self.starts[:-1])
        return numbers / self.ranks

    def head(self, k: int) -> IntArray:
        """Ranks of the first positives of each query that can be among the first k places: (Q, min(k, most)).

        A place beyond the first k stands where a query has fewer positives, or further behind.
        """
        width = int(min(k, self.positives.max()))
        places = self.starts[:-1, None] + np.arange(width)
        ranks = self.ranks[np.minimum(places, len(self.ranks) - 1)]
        return np.where(places < self.starts[1:, None], np.minimum(ranks, k + 1), k + 1)

    @cached_property
    def within_positives(self) -> npt.NDArray[np.bool_]:
        """For each entry of `ranks`, whether it is at most the number of positives of its query: (P,)."""
        return self.ranks <= self.of_positives(self.positives)

    def of_positives(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Values of queries given to each of their positives, (Q,) -> (P,)."""
        return np.repeat(values, self.positives)

    def sum_by_query(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Sums of values given for each positive, (P,) -> (Q,)."""
        kind = np.int64 if values.dtype == bool else values.dtype
        return np.add.reduceat(values, self.starts[:-1], dtype=kind)


@dataclass(frozen=True)
class TopK:
    """The best gallery items of each query, best first: positions (Q, k) and similarities (Q, k).

    Items of equal similarity are listed in the order of the gallery. Where fewer than k items are left
    after junk and the image itself are removed, the position is -1 and the similarity -inf.
    """

    indices: IntArray
    similarities: FloatArray

    @classmethod
    def empty(cls, queries: int, k: int, dtype: npt.DTypeLike) -> TopK:
        """Room for the answers of so many queries."""
        return cls(np.full((queries, k), -1, dtype=np.int64), np.full((queries, k), -np.inf, dtype=dtype))


@dataclass(frozen=True)
class Nearest:
    """The highest similarity of each query to a positive and to a ranked item that is none: (Q,) each.

    -inf where there is no such item. index: (Q,) gallery position of that other item, of equals the first;
    -1 where there is none.
    """

    positive: FloatArray
    other: FloatArray
    index: IntArray

    @classmethod
    def empty(cls, queries: int, dtype: npt.DTypeLike) -> Nearest:
        """Room for so many queries."""
        return cls(
            np.full(queries, -np.inf, dtype), np.full(queries, -np.inf, dtype), np.full(queries, -1, np.int64)
        )


def positive_ranks(similarities: FloatArray, others: FloatArray, nearest_other: float) -> IntArray:
    """One-based ranks of the positives of one query, ascending. `others` may be overwritten.

    rank of the i-th best positive = i + number of other ranked items whose similarity is at least as high.

    similarities: (P,) of the positives, descending. others: (G,) of all items, -inf for those that are not
    ranked and for the positives. nearest_other: the maximum of others.
    """
    ranks = np.arange(1, len(similarities) + 1)
    ahead = int(
        np.searchsorted(-similarities, -nearest_other, side="left")
    )  # so many stand before all others
    behind = similarities[ahead:]
    if len(behind) > _FEW:
        rival = others >= behind[-1]
        # picking items out of a row takes a third of the time of sorting it, so it must leave out many
        rivals = others[rival] if np.count_nonzero(rival) < len(others) // 2 else others
        rivals.sort()
        ranks[ahead:] += rivals.size - np.searchsorted(rivals, behind, side="left")
    else:
        for place, value in enumerate(behind, ahead):
            ranks[place] += np.count_nonzero(others >= value)
    return ranks


def best(row: FloatArray, k: int) -> tuple[IntArray, FloatArray]:
    """Positions and similarities of the k best items of a row, in which -inf marks what is not ranked.

    See TopK.
    """
    threshold = np.partition(row, row.size - k)[row.size - k]
    above = np.flatnonzero(row > threshold)
    level = np.flatnonzero(row == threshold)[: k - above.size]
    indices = np.concatenate([above, level])
    indices = indices[np.lexsort((indices, -row[indices]))]
    similarities = row[indices]
    return np.where(np.isneginf(similarities), -1, indices).astype(np.int64), similarities


def similarities_and_ranker(
    query: npt.NDArray[Any], gallery: npt.NDArray[Any], device: Any, memory_budget: int
) -> tuple[Similarities, type[Ranker]]:
    """What compares features (Q, D) and (G, D) and what ranks its blocks, on a torch device or, with None,
    here."""
    check_budget(memory_budget)
    if device is None:
        return Similarities(query, gallery, memory_budget), Ranker
    accelerator = import_module("lookalike.retrieval.accelerator")  # by name, so that nobody else needs torch
    return accelerator.DeviceSimilarities(query, gallery, device), accelerator.DeviceRanker


def available_threads() -> int:
    """How many threads to use: as many as OMP_NUM_THREADS gives the matrix product, or processors allow."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    if told.isdecimal() and int(told):
        return int(told)
    affinity = getattr(os, "sched_getaffinity", None)  # not on every system
    return len(affinity(0)) if affinity else os.cpu_count() or 1


class Ranker:
    """Ranks blocks of queries, one after the other, and keeps what is asked for of each query.

    top: the best k of each query. pairs: counts of similarities. Both are filled where they are given.
    """

    def __init__(
        self,
        candidates: Candidates,
        queries: int,
        dtype: npt.DTypeLike,
        top: TopK | None = None,
        pairs: PairBins | None = None,
    ) -> None:
        self._candidates, self._top, self._pairs = candidates, top, pairs
        self._threads = 1 if pairs else available_threads()  # counts of pairs are added up in one place
        self.nearest = Nearest.empty(queries, dtype)

    def rank(self, block: FloatArray, part: slice) -> tuple[IntArray, Ranking]:
        """Which queries of a block have a positive, (Q',), and the ranking of those.

        `block` (queries of the part, G) is overwritten.
        """
        # with many positives a row is sorted, and NumPy does that without holding the interpreter
        threads = self._threads if self._candidates.positives_expected > _FEW else 1
        slices = [slice(number, None, threads) for number in range(threads)]
        numbers = range(part.start, part.stop)
        found: list[IntArray] = [NOTHING] * len(numbers)

        def rank_some(some: slice) -> None:
            found[some] = [self._rank_one(*each) for each in zip(numbers[some], block[some], strict=True)]

        if threads == 1:
            rank_some(slices[0])
        else:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(rank_some, slices))
        ranks = [each for each in found if each.size]
        members = [number for number, each in zip(numbers, found, strict=True) if each.size]
        starts = np.cumsum([0, *map(len, ranks)], dtype=np.int64)
        return np.asarray(members, dtype=np.int64), Ranking(
            np.concatenate(ranks) if ranks else NOTHING, starts
        )

    def count(self, block: FloatArray, part: slice, bins: Iterable[PairBins]) -> None:
        """Only count the pairs of a block, in each of the bins; it is left as it is."""
        for query, row in zip(range(part.start, part.stop), block, strict=True):
            for each in bins:
                each.add(query, row, *self._candidates.of(query))

    def _rank_one(self, query: int, row: FloatArray) -> IntArray:
        positives, removed = self._candidates.of(query)
        if self._pairs is not None:
            self._pairs.add(query, row, positives, removed)
        row[removed] = -np.inf
        if self._top is not None:
            self._top.indices[query], self._top.similarities[query] = best(row, self._top.indices.shape[1])
        similarities = np.sort(row[positives])[::-1]
        row[positives] = -np.inf
        index = row.argmax()
        nearest_other = row[index]
        self.nearest.other[query] = nearest_other
        self.nearest.index[query] = -1 if np.isneginf(nearest_other) else index
        if not positives.size:
            return NOTHING
        self.nearest.positive[query] = similarities[0]
        return positive_ranks(similarities, row, nearest_other)
