"""The retrieval metrics of torchmetrics as objects that gather scores: update, compute, reset.

They take what any search gives, flat lists of scores (`preds`), of what is right (`target`) and of the
    query each belongs to (`indexes`), so they hold every scored item: 13 bytes for a float32 score. Those
    who have features need no such list: `evaluate_retrieval` ranks them in bounded memory.

The names, arguments and formulas of torchmetrics 1.9, as it defines them, except:
    a tie counts against the query (the less right item stands first), where the order of a sort decides
    there, or the mean over the tied places for nDCG;
    a right item with a score of 0 or less counts like any other, where it counts as a miss there in
    RetrievalMAP, RetrievalMRR, RetrievalPrecision and RetrievalRecall: cosines are negative now and then;
    the result is a NumPy float64, which has `.item()` too, and values are float64 throughout;
    objects are no torch modules and gather over no processes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from lookalike.retrieval.blocks import FloatArray, IntArray, as_array
from lookalike.retrieval.metrics import (
    PerQuery,
    average_precision,
    hit_rate,
    r_precision,
    reciprocal_rank,
    true_recall,
)
from lookalike.retrieval.ranking import Ranking

Aggregation = str | Callable[[PerQuery], Any]

_AGGREGATIONS: dict[str, Callable[[PerQuery], Any]] = {
    "mean": np.mean,
    "median": lambda values: np.sort(values)[(len(values) - 1) // 2],  # the lower one, as torch's
    "min": np.min,
    "max": np.max,
}
_OF_EMPTY = {"neg": 0.0, "pos": 1.0, "skip": None, "error": None}


@dataclass(frozen=True)
class ScoredLists:
    """The items of Q queries that have something right, best first.

    gains: (N,) of the items of the first query, then of the second, …; 0 for what is not right.
    starts: (Q + 1,) where the items of each query start; the last entry is N.
    """

    gains: FloatArray
    starts: IntArray

    @property
    def sizes(self) -> IntArray:
        """How many items each query has: (Q,)."""
        return np.diff(self.starts)

    @cached_property
    def places(self) -> IntArray:
        """One-based place of each item in the list of its query: (N,)."""
        return np.arange(1, len(self.gains) + 1, dtype=np.int64) - np.repeat(self.starts[:-1], self.sizes)

    @cached_property
    def ranking(self) -> Ranking:
        """The places of what is right."""
        right = self.gains > 0
        counts = np.add.reduceat(right, self.starts[:-1], dtype=np.int64)
        return Ranking(self.places[right], np.cumsum([0, *counts], dtype=np.int64))


class RetrievalMetric(ABC):
    """What all metrics share: a value for each query, and one for all.

    empty_target_action: the value of a query without anything right: "neg" is 0, "pos" is 1, "skip" leaves
        it out (0 where none is left), "error" raises ValueError.
    ignore_index: items with this target are left out.
    top_k: how many items of each query are looked at; by default all.
    aggregation: "mean", "median" (the lower of two), "min", "max" or a function of the values, (Q,).
    """

    def __init__(
        self,
        empty_target_action: str = "neg",
        ignore_index: int | None = None,
        top_k: int | None = None,
        aggregation: Aggregation = "mean",
    ) -> None:
        if empty_target_action not in _OF_EMPTY:
            raise ValueError(
                f"empty_target_action must be one of {', '.join(_OF_EMPTY)}, got {empty_target_action!r}"
            )
        if top_k is not None and (not isinstance(top_k, int) or top_k < 1):
            raise ValueError(f"top_k must be a whole number of at least 1 or None, got {top_k!r}")
        if not callable(aggregation) and aggregation not in _AGGREGATIONS:
            raise ValueError(
                f"aggregation must be one of {', '.join(_AGGREGATIONS)} or a function, got {aggregation!r}"
            )
        self.empty_target_action, self.ignore_index = empty_target_action, ignore_index
        self.top_k, self.aggregation = top_k, aggregation
        self.reset()

    def update(self, preds: Any, target: Any, indexes: Any) -> None:
        """Add scored items: arrays or tensors of one shape, which is flattened.

        preds: scores, larger is better. target: whether each item is right, as 0 and 1 or booleans (for
        nDCG how right it is, 0 or more). indexes: whole numbers, the query of each; the items of a query may
        come in several calls.
        """
        scores, gains, queries = as_array(preds), as_array(target), as_array(indexes)
        if not scores.shape == gains.shape == queries.shape or not scores.shape or not scores.size:
            raise ValueError(
                "preds, target and indexes must be of one shape and not empty, got "
                f"{scores.shape}, {gains.shape} and {queries.shape}"
            )
        if queries.dtype.kind not in "iu":
            raise ValueError(f"indexes must be whole numbers, the query of each item, got {queries.dtype}")
        if scores.dtype.kind not in "fiu":
            raise ValueError(f"preds must be real numbers, got {scores.dtype}")
        if scores.dtype.kind != "f":
            scores = scores.astype(np.float64)
        if np.isnan(scores).any():
            raise ValueError("preds hold NaN")
        kept = slice(None) if self.ignore_index is None else gains != self.ignore_index
        self._scores.append(scores[kept].reshape(-1))
        self._gains.append(self._checked_gains(gains[kept].reshape(-1)))
        self._queries.append(queries[kept].reshape(-1).astype(np.int64, copy=False))

    def compute(self) -> Any:
        """The figure over all items so far. Raises ValueError where there are none."""
        if not sum(map(len, self._queries)):
            raise ValueError("there is nothing to compute: call update with scored items first")
        values = self._per_query()
        if not len(values):
            return np.float64(0)
        if callable(self.aggregation):
            return self.aggregation(values)
        return np.float64(_AGGREGATIONS[self.aggregation](values))

    def reset(self) -> None:
        """Forget all items."""
        self._scores: list[FloatArray] = []
        self._gains: list[npt.NDArray[Any]] = []
        self._queries: list[IntArray] = []

    def __call__(self, preds: Any, target: Any, indexes: Any) -> Any:
        """The figure over these items alone, which are added as well."""
        alone = copy(self)
        alone.reset()
        alone.update(preds, target, indexes)
        self.update(preds, target, indexes)
        return alone.compute()

    @abstractmethod
    def values(self, lists: ScoredLists) -> PerQuery:
        """The value of each query: (Q,)."""

    def _checked_gains(self, gains: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if not np.isin(gains, (0, 1)).all():
            raise ValueError("target must hold only 0 and 1, or booleans")
        return gains.astype(bool)

    def _per_query(self) -> PerQuery:
        scores, gains, queries = map(np.concatenate, (self._scores, self._gains, self._queries))
        order = np.lexsort((gains, -scores, queries))  # by query, then the best, then the less right
        gains, queries = gains[order].astype(np.float64), queries[order]
        starts = np.concatenate([[0], np.flatnonzero(np.diff(queries)) + 1, [len(queries)]])
        sizes = np.diff(starts)
        has_right = np.add.reduceat(gains, starts[:-1]) > 0
        if self.empty_target_action == "error" and not has_right.all():
            raise ValueError(f"query {queries[starts[np.argmin(has_right)]]} has nothing right")
        empty = _OF_EMPTY[self.empty_target_action]
        values = np.full(len(sizes), np.nan if empty is None else empty)
        if has_right.any():
            kept_sizes = sizes[has_right]
            lists = ScoredLists(
                gains[np.repeat(has_right, sizes)], np.cumsum([0, *kept_sizes], dtype=np.int64)
            )
            values[has_right] = self.values(lists)
        return values[has_right] if empty is None else values

    def _top(self, lists: ScoredLists) -> int:
        return self.top_k or int(lists.sizes.max())


class RetrievalMAP(RetrievalMetric):
    """Mean of 1/P · Σ_i i / r_i, with r_i the place of the i-th of P right items.

    With top_k of 1/F · Σ_{i: r_i ≤ k} i / r_i, F being the number of right items found among the first k: it
    does not tell how many were not found, as `mAP@k` of `evaluate_retrieval` does by dividing by min(P, k).

    >>> metric = RetrievalMAP()
    >>> metric.update([0.9, 0.8, 0.7, 0.3, 0.2], [1, 0, 1, 0, 1], [0, 0, 0, 1, 1])
    >>> round(float(metric.compute()), 4)  # of (1/1 + 2/3) / 2 and 1/2
    0.6667
    """

    def values(self, lists: ScoredLists) -> PerQuery:
        ranking = lists.ranking
        if self.top_k is None:
            return average_precision(ranking)
        within = ranking.ranks <= self.top_k
        found = ranking.sum_by_query(within)
        return ranking.sum_by_query(ranking.precision_at_hits * within) / np.maximum(found, 1)


class RetrievalMRR(RetrievalMetric):
    """Mean of 1 / r_1; 0 where the first right item is not among the first top_k.

    >>> metric = RetrievalMRR()
    >>> metric([0.9, 0.8, 0.7], [0, 1, 1], [5, 5, 5]).item()
    0.5
    """

    def values(self, lists: ScoredLists) -> PerQuery:
        return reciprocal_rank(lists.ranking) * hit_rate(lists.ranking, self._top(lists))


class RetrievalPrecision(RetrievalMetric):
    """Mean of (right items among the first k) / k; by default k is the number of items of the query.

    adaptive_k: a query with fewer than top_k items divides by their number.

    >>> metric = RetrievalPrecision(top_k=2)
    >>> metric([0.9, 0.8, 0.7], [0, 1, 1], [5, 5, 5]).item()
    0.5
    """

    def __init__(
        self,
        empty_target_action: str = "neg",
        ignore_index: int | None = None,
        top_k: int | None = None,
        adaptive_k: bool = False,
        aggregation: Aggregation = "mean",
    ) -> None:
        super().__init__(empty_target_action, ignore_index, top_k, aggregation)
        self.adaptive_k = adaptive_k

    def values(self, lists: ScoredLists) -> PerQuery:
        ranking, k = lists.ranking, lists.sizes
        if self.top_k is not None:
            k = np.minimum(self.top_k, k) if self.adaptive_k else np.full_like(k, self.top_k)
        return ranking.sum_by_query(ranking.ranks <= ranking.of_positives(k)) / k


class RetrievalRecall(RetrievalMetric):
    """Mean of (right items among the first top_k) / (right items of the query).

    >>> metric = RetrievalRecall(top_k=2)
    >>> metric([0.9, 0.8, 0.7], [0, 1, 1], [5, 5, 5]).item()
    0.5
    """

    def values(self, lists: ScoredLists) -> PerQuery:
        return true_recall(lists.ranking, self._top(lists))


class RetrievalHitRate(RetrievalMetric):
    """Share of queries with a right item among the first top_k: recall@k of metric learning.

    >>> metric = RetrievalHitRate(top_k=2)
    >>> metric([0.9, 0.8, 0.7], [0, 1, 1], [5, 5, 5]).item()
    1.0
    """

    def values(self, lists: ScoredLists) -> PerQuery:
        return hit_rate(lists.ranking, self._top(lists))


class RetrievalRPrecision(RetrievalMetric):
    """Mean of (right items among the first P) / P, with P right items of the query.

    >>> metric = RetrievalRPrecision()
    >>> metric([0.9, 0.8, 0.7], [0, 1, 1], [5, 5, 5]).item()
    0.5
    """

    def __init__(
        self,
        empty_target_action: str = "neg",
        ignore_index: int | None = None,
        aggregation: Aggregation = "mean",
    ) -> None:
        super().__init__(empty_target_action, ignore_index, None, aggregation)

    def values(self, lists: ScoredLists) -> PerQuery:
        return r_precision(lists.ranking)


class RetrievalNormalizedDCG(RetrievalMetric):
    """Mean of DCG / (DCG of the best order), DCG = Σ_{n ≤ top_k} g_n / log2(1 + n), g_n the n-th item's gain.

    Gains may be any numbers of 0 or more; the gain itself counts, not 2^g - 1.

    >>> metric = RetrievalNormalizedDCG(top_k=3)
    >>> round(float(metric([0.9, 0.8, 0.7], [0, 2, 1], [5, 5, 5])), 4)
    0.6697
    """

    def values(self, lists: ScoredLists) -> PerQuery:
        queries = np.repeat(np.arange(len(lists.sizes)), lists.sizes)
        best = lists.gains[np.lexsort((-lists.gains, queries))]
        discounts = (lists.places <= self._top(lists)) / np.log2(1.0 + lists.places)
        found, ideal = (np.add.reduceat(each * discounts, lists.starts[:-1]) for each in (lists.gains, best))
        return found / ideal

    def _checked_gains(self, gains: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if gains.dtype.kind not in "fiub" or not (np.isfinite(gains).all() and (gains >= 0).all()):
            raise ValueError("target must hold gains, finite numbers of 0 or more")
        return gains
