"""The figures of retrieval: a value per query from the ranks of its positives, then a mean over queries.

A metric is asked for by name: `mAP`, or `recall@5` where it looks at the first k items. To add one, write a
    function of a `Ranking` (and k) that returns one value per query, and name it in `METRICS`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lookalike.retrieval.ranking import Ranking
from lookalike.retrieval.rates import RATES, Rate, parse_rate

PerQuery = npt.NDArray[np.float64]


def hit_rate(ranking: Ranking, k: int) -> PerQuery:
    """recall@k of metric learning: 1 where a positive is among the first k, else 0 (or CMC at rank k).

    Jégou et al., "Product quantization for nearest neighbor search" (2011); Oh Song et al. (2016). It is
    not the share of positives found. With fewer than k items in the ranking, all of them count.
    """
    return (ranking.first <= k).astype(np.float64)


def precision(ranking: Ranking, k: int) -> PerQuery:
    """precision@k: hits among the first k, divided by k (also where the ranking holds fewer than k items).

    The reference takes the mean over all queries, we over those that have a positive.
    """
    return (ranking.head(k) <= k).sum(axis=1) / float(k)


def true_recall(ranking: Ranking, k: int) -> PerQuery:
    """True recall@k: hits among the first k, divided by P, the number of positives.

    What "recall" means everywhere but in metric learning. With k below P it cannot reach 1.
    """
    return (ranking.head(k) <= k).sum(axis=1) / ranking.positives


def average_precision(ranking: Ranking) -> PerQuery:
    """AP = 1/P · Σ_i i / r_i, with r_i the rank of the i-th of P positives.

    Its mean over queries is mAP (no interpolation).
    """
    return ranking.sum_by_query(ranking.precision_at_hits) / ranking.positives


def average_precision_at_k(ranking: Ranking, k: int) -> PerQuery:
    """AP@k = 1/min(P, k) · Σ_{i: r_i ≤ k} i / r_i: only the first k places count, and can reach 1.

    As in the landmark recognition and retrieval challenges (GLDv2; Weyand et al., 2020).
    """
    ranks = ranking.head(k)
    precision_at_hits = np.arange(1, ranks.shape[1] + 1) / ranks
    return (precision_at_hits * (ranks <= k)).sum(axis=1) / np.minimum(ranking.positives, k)


def average_precision_at_r(ranking: Ranking) -> PerQuery:
    """AP@R = 1/P · Σ_{i: r_i ≤ P} i / r_i: the first P places count, P the number of positives.

    Its mean is MAP@R. Musgrave et al., "A Metric Learning Reality Check" (2020).
    """
    return ranking.sum_by_query(ranking.precision_at_hits * ranking.within_positives) / ranking.positives


def r_precision(ranking: Ranking) -> PerQuery:
    """R-precision: hits among the first P, divided by P, the number of positives."""
    return ranking.sum_by_query(ranking.within_positives) / ranking.positives


def inverse_negative_penalty(ranking: Ranking) -> PerQuery:
    """INP = P / r_P: how little is looked through until all P positives are found; its mean is mINP.

    Ye et al., "Deep Learning for Person Re-identification: A Survey and Outlook" (2021). The reference
    divides by the zero-based rank, so that a perfect query with one positive gives infinity there.
    """
    return ranking.positives / ranking.last.astype(np.float64)


def reciprocal_rank(ranking: Ranking) -> PerQuery:
    """RR = 1 / r_1, r_1 the rank of the first hit; its mean is MRR. Voorhees, TREC-8 (1999)."""
    return 1.0 / ranking.first


def discounted_gain(ranking: Ranking, k: int) -> PerQuery:
    """nDCG@k = Σ_{i: r_i ≤ k} 1/log2(1 + r_i) / Σ_{i=1..min(P, k)} 1/log2(1 + i).

    Normalised discounted cumulative gain where a positive gains 1 and everything else 0. Järvelin and
    Kekäläinen, "Cumulated gain-based evaluation of IR techniques" (2002).
    """
    ranks = ranking.head(k)
    gain = ((ranks <= k) / np.log2(1.0 + ranks)).sum(axis=1)
    ideal = np.cumsum(1 / np.log2(2.0 + np.arange(ranks.shape[1])))
    return gain / ideal[np.minimum(ranking.positives, ranks.shape[1]) - 1]


def first_hit_rank(ranking: Ranking) -> PerQuery:
    """r_1, the one-based rank of the first hit: smaller is better, and a few queries can draw up its mean."""
    return ranking.first.astype(np.float64)


METRICS: dict[str, Callable[..., PerQuery]] = {
    "recall@": hit_rate,
    "true_recall@": true_recall,
    "precision@": precision,
    "mAP": average_precision,
    "mAP@": average_precision_at_k,
    "mAP@R": average_precision_at_r,
    "R-precision": r_precision,
    "mINP": inverse_negative_penalty,
    "MRR": reciprocal_rank,
    "nDCG@": discounted_gain,
    "first_hit_rank": first_hit_rank,
}
"""Functions by name; a name that ends in `@` is followed by k and its function takes k."""


@dataclass(frozen=True)
class Metric:
    """A metric with its k, where it has one."""

    name: str
    family: str
    k: int | None

    def per_query(self, ranking: Ranking) -> PerQuery:
        """One value for each query of the ranking: (Q,)."""
        function: Callable[..., Any] = METRICS[self.family]
        # more than any gallery holds is the whole gallery, and must fit a whole number of 64 bits
        values: PerQuery = function(ranking) if self.k is None else function(ranking, min(self.k, 2**62))
        return values


def parse_metric(name: str) -> Metric | Rate:
    """The metric of a name such as `mAP`, `recall@5` or `TAR@FAR=0.01`.

    Raises ValueError for an unknown name, a k that is no positive number and a rate outside of 0..1.
    """
    rate = parse_rate(name)
    if rate is not None:
        return rate
    if name in METRICS and not name.endswith("@"):
        return Metric(name, name, None)
    family, at, k = name.partition("@")
    if family + at not in METRICS:
        known = [f"{metric}k" if metric.endswith("@") else metric for metric in METRICS]
        known += [f"{kind}@FAR=f" for kind in RATES]
        lowered = {each.lower(): each for each in METRICS}
        for near in difflib.get_close_matches((family + at).lower(), lowered, n=1):
            meant = lowered[near] + (k or "k" if near.endswith("@") else "")
            raise ValueError(f"unknown metric '{name}', did you mean '{meant}'?")
        raise ValueError(f"unknown metric '{name}' (known: {', '.join(known)}; k is a number, f a rate)")
    if not k.isdecimal() or int(k) < 1:
        raise ValueError(f"metric '{name}' needs a whole number of at least 1 after '@', as in '{family}@5'")
    return Metric(name, family + at, int(k))
