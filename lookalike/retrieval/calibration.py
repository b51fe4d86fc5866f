"""Thresholds for "the same", found on the scores of labelled pictures, and how sure one can be of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lookalike.retrieval.blocks import IntArray
from lookalike.retrieval.open_set import OpenSetScores
from lookalike.retrieval.summaries import exact_where_all_agree
from lookalike.retrieval.thresholds import Scores, scores_needed, threshold_at, weighted_threshold

Interval = tuple[float, float]


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold and what it does to the scores that it was found on.

    threshold: accepted are scores of at least this. wanted: the false-accept rate asked for.
    wrong: how many queries were tried as pictures of something unknown; false_accepts: how many of them were
        accepted. supported: whether there were enough of them for the wanted rate; where not, none was
        accepted, and the rate is not known to be as low as that.
    identification_rate: share of the queries with an item of their class that are answered rightly and
        accepted: b >= t and b > o.
    expected_false_accept_rate: about what comes of the threshold on classes it was not chosen on; it and its
        interval are None where there is but one class. For them and the other intervals see `find`.
    """

    threshold: float
    wanted: float
    wrong: int
    false_accepts: int
    expected_false_accept_rate: float | None
    identification_rate: float
    threshold_interval: Interval
    false_accept_interval: Interval | None
    identification_interval: Interval

    @property
    def false_accept_rate(self) -> float:
        """Share of the queries whose best score outside of their class is accepted."""
        return self.false_accepts / self.wrong

    @property
    def supported(self) -> bool:
        return self.wrong >= scores_needed(self.wanted)

    @classmethod
    def find(
        cls,
        scores: OpenSetScores,
        false_accept_rate: float,
        *,
        resolution: float = 0.0,
        confidence: float = 0.95,
        resamples: int = 1000,
        seed: int = 0,
    ) -> OperatingPoint:
        """The smallest threshold with at most that share of false accepts (`threshold_at`), with intervals.

        Intervals come from the bootstrap over classes, since pictures of one class are not independent, and
        two classes that are mostly mistaken for each other are not either: as many classes as there are,
        such couples together, are drawn with replacement, with all their queries. For each draw the threshold
        is found anew. Its quantiles are the interval of the threshold; those of the rate of correct
        identification, on the draw, are that one's. The gallery stays as it is. Where all draws give a rate
        of 1, or all of 0, its interval is that of `lookalike.retrieval.exact_where_all_agree` for the classes
        that have such queries, couples counted once.

        The false-accept rate on the pictures that a threshold was chosen on says little of others: it is at
        most the wanted one by choice. So each threshold is tried on the classes that are not in its draw: the
        mean is the expected rate, the quantiles are its interval. Both are cautious, since a draw holds but
        63 % of the classes and is tried on the few that are left: see `benchmarks/thresholds.py`. Efron and
        Tibshirani, "An Introduction to the Bootstrap" (1993), chapters 8 and 17.

        Raises ValueError for a rate that is not between 0 and 1, without known queries, and without queries
        that have an item of another class to be mistaken for.
        """
        if not 0 < false_accept_rate < 1 or not 0 < confidence < 1:
            raise ValueError(
                f"rates lie between 0 and 1, got {false_accept_rate} for false accepts and {confidence} for "
                "the confidence"
            )
        judged = _Judged(scores, resolution)
        found = judged.threshold(false_accept_rate)
        draws = np.full((resamples, 3), np.nan)  # where a draw says nothing
        generator = np.random.default_rng(seed)
        count = judged.groups
        for draw in draws:
            times = np.bincount(generator.integers(0, count, count), minlength=count).astype(np.float64)
            threshold = judged.threshold(false_accept_rate, times)
            if not np.isnan(threshold):
                draw[:] = (
                    threshold,
                    judged.identified(threshold, times),
                    judged.accepted_elsewhere(threshold, times),
                )
        tails = [(1 - confidence) / 2, (1 + confidence) / 2]
        thresholds, identified = (
            tuple(np.nanquantile(draws[:, column], tails).tolist()) for column in (0, 1)
        )
        elsewhere = draws[~np.isnan(draws[:, 2]), 2]
        accepted = tuple(np.quantile(elsewhere, tails).tolist()) if elsewhere.size else None
        return cls(
            found,
            false_accept_rate,
            judged.wrong,
            judged.accepted(found),
            float(elsewhere.mean()) if elsewhere.size else None,
            judged.identified(found, np.ones(count)),
            thresholds,
            accepted and exact_where_all_agree(accepted, judged.groups_tried, confidence),
            exact_where_all_agree(identified, judged.groups_known, confidence),
        )


class _Judged:
    """Scores of queries, ordered so that a threshold for any weights of their groups is quickly found."""

    def __init__(self, scores: OpenSetScores, resolution: float) -> None:
        groups = _look_alikes(scores)
        self.groups = int(groups.max()) + 1
        self._resolution = resolution
        wrong = np.flatnonzero(scores.tried)
        if not wrong.size:
            raise ValueError("no query has an item of another class to be mistaken for")
        order = wrong[np.argsort(-scores.best_other[wrong], kind="stable")]
        self.wrong = len(order)
        self._wrong_scores, self._wrong_groups = scores.best_other[order], groups[order]
        if not scores.known.any():
            raise ValueError("no query has an item of its own class in the gallery: do they share labels?")
        self._known = np.bincount(groups[scores.known], minlength=self.groups).astype(np.float64)
        self.groups_known = int(np.count_nonzero(self._known))
        self.groups_tried = len(np.unique(self._wrong_groups))
        self._right_scores, self._right_groups = scores.best_positive[scores.right], groups[scores.right]

    def threshold(self, rate: float, times: Scores | None = None) -> float:
        """`times`: how often each group of classes is drawn; once where None."""
        weights = np.ones(self.wrong) if times is None else times[self._wrong_groups]
        if not weights.any():
            return float("nan")
        return weighted_threshold(self._wrong_scores, weights, rate, self._resolution)

    def accepted(self, threshold: float) -> int:
        return int(np.count_nonzero(self._wrong_scores >= threshold))

    def accepted_elsewhere(self, threshold: float, times: Scores) -> float:
        """Share of the wrong scores of classes that were not drawn."""
        left_out = times[self._wrong_groups] == 0
        if np.isnan(threshold) or not left_out.any():
            return float("nan")
        return float((self._wrong_scores[left_out] >= threshold).mean())

    def identified(self, threshold: float, times: Scores) -> float:
        known = float(times @ self._known)
        right = float(times[self._right_groups[self._right_scores >= threshold]].sum())
        return right / known if known else float("nan")


def _look_alikes(scores: OpenSetScores) -> IntArray:
    """The group of each query, (Q,): its class, or the couple of two classes whose queries mostly have their
    nearest wrong item in each other.
    """
    known, codes = np.unique(scores.labels, return_inverse=True)
    codes, count = codes.reshape(-1), len(known)
    place = {label: code for code, label in enumerate(known.tolist())}
    others = np.array([place.get(label, -1) for label in scores.other_labels.tolist()])
    told = scores.tried & (others >= 0)
    pairs, times = np.unique(codes[told] * count + others[told], return_counts=True)
    order = np.argsort(times, kind="stable")
    nearest = np.full(count, -1)
    nearest[pairs[order] // count] = pairs[order] % count  # the one that comes most often is written last
    own = np.arange(count)
    mutual = (nearest >= 0) & (nearest[nearest] == own)
    groups = np.where(mutual, np.minimum(own, nearest), own)
    if np.all(groups == groups[0]):
        groups = own  # two classes: a single couple would leave nothing to draw
    numbers = np.unique(groups, return_inverse=True)[1].reshape(-1)
    return np.asarray(numbers[codes], dtype=np.int64)


@dataclass(frozen=True)
class ClassThresholds:
    """Thresholds by the class of the answer.

    own: for a gallery label, its threshold and the number of wrong scores that it was found on.
    rest: the threshold of all other labels.
    false_accept_rate, identification_rate: of all queries, each judged with the threshold of the class of its
        nearest item.
    """

    own: dict[str, tuple[float, int]]
    rest: float
    false_accept_rate: float
    identification_rate: float


def class_thresholds(
    scores: OpenSetScores,
    false_accept_rate: float,
    *,
    fewest: int = 20,
    resolution: float = 0.0,
) -> ClassThresholds:
    """A threshold of its own for each class that is mistaken for often enough; one for all the rest.

    The wrong scores of a class are those of queries of other classes whose nearest wrong item is one of its
    own. It gets its own threshold where there are at least `fewest` of them, and at least as many as the
    rate needs (`scores_needed`). The rest shares one found on the wrong scores of the rest, or, where these
    are too few, one that accepts none of them and is not below that of all classes together. So each group
    keeps the wanted rate on its own, and hence do all of them, as long as only the NEAREST item decides: an
    answer behind one that was not accepted must not be accepted by the lower threshold of its class.
    """
    wrong = scores.best_other[scores.tried]
    names, codes = np.unique(scores.other_labels[scores.tried], return_inverse=True)
    codes = codes.reshape(-1)
    enough = max(fewest, scores_needed(false_accept_rate))
    counts = np.bincount(codes, minlength=len(names))
    own = np.flatnonzero(counts >= enough)
    thresholds = np.full(len(names), np.nan)
    for code in own:
        thresholds[code] = threshold_at(wrong[codes == code], false_accept_rate, resolution)
    rest = threshold_at(wrong, false_accept_rate, resolution)
    others = wrong[~np.isin(codes, own)]
    if own.size and others.size:
        among = threshold_at(others, false_accept_rate, resolution)
        rest = among if len(others) >= enough else max(among, rest)
    thresholds[np.isnan(thresholds)] = rest
    accepted = wrong >= thresholds[codes]
    of_label = dict(zip(names.tolist(), thresholds.tolist(), strict=True))
    own_threshold = np.array([of_label.get(label, rest) for label in scores.labels.tolist()])
    right = scores.right & (scores.best_positive >= own_threshold)
    return ClassThresholds(
        {str(names[code]): (float(thresholds[code]), int(counts[code])) for code in own},
        rest,
        float(accepted.mean()),
        float(right[scores.known].mean()),
    )
