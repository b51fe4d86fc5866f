"""Thresholds for "the same", found on the scores of labelled pictures, and how sure one can be of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lookalike.retrieval.open_set import OpenSetScores
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
    expected_false_accept_rate: about what comes of the threshold on classes it was not chosen on; None where
        there is but one class. It and the intervals are explained at `OperatingPoint.find`.
    """

    threshold: float
    wanted: float
    wrong: int
    false_accepts: int
    expected_false_accept_rate: float | None
    identification_rate: float
    threshold_interval: Interval
    false_accept_interval: Interval
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

        Intervals come from the bootstrap over classes, since pictures of one class are not independent: as
        many classes as there are, drawn with replacement, with all their queries. For each draw the threshold
        is found anew. Its quantiles are the interval of the threshold; those of the rate of correct
        identification, on the draw, are that one's. The gallery stays as it is.

        The false-accept rate on the pictures that a threshold was chosen on says little of others: it is at
        most the wanted one by choice. Its interval is therefore that of the thresholds of the draws applied
        to ALL queries, and the expected rate is the mean of what they accept of the classes that are not in
        the draw. That is a little too high, since a draw holds but 63 % of the classes. In simulations with
        14 to 100 classes whose scores vary much between classes, 95 % intervals held the true rate in 82 to
        91 % of the cases: with few classes they are too narrow. Efron and Tibshirani, "An Introduction to
        the Bootstrap" (1993), chapters 8 and 17.

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
        draws, elsewhere = np.empty((resamples, 3)), np.full(resamples, np.nan)
        generator = np.random.default_rng(seed)
        count = judged.classes
        for number, draw in enumerate(draws):
            times = np.bincount(generator.integers(0, count, count), minlength=count).astype(np.float64)
            threshold = judged.threshold(false_accept_rate, times)
            accepted, identified = judged.accepted(threshold), judged.identified(threshold, times)
            # a draw may hold no class with a score that counts, or all of them: it says nothing
            draw[:] = np.nan if np.isnan(threshold) else (threshold, accepted / judged.wrong, identified)
            elsewhere[number] = judged.accepted_elsewhere(threshold, times)
        tails = [(1 - confidence) / 2, (1 + confidence) / 2]
        low, high = np.nanquantile(draws, tails, axis=0).tolist()
        return cls(
            found,
            false_accept_rate,
            judged.wrong,
            judged.accepted(found),
            float(np.nanmean(elsewhere)) if np.isfinite(elsewhere).any() else None,
            judged.identified(found, np.ones(count)),
            *zip(low, high, strict=True),
        )


class _Judged:
    """Scores of queries, ordered so that a threshold for any weights of their classes is quickly found."""

    def __init__(self, scores: OpenSetScores, resolution: float) -> None:
        known, codes = np.unique(scores.labels, return_inverse=True)
        codes = codes.reshape(-1)
        self.classes = len(known)
        self._resolution = resolution
        wrong = np.flatnonzero(scores.nearest_other >= 0)
        if not wrong.size:
            raise ValueError(
                "no query has an item of another class to be mistaken for: one class says nothing"
            )
        order = wrong[np.argsort(-scores.best_other[wrong], kind="stable")]
        self.wrong = len(order)
        self._wrong_scores, self._wrong_codes = scores.best_other[order], codes[order]
        if not scores.known.any():
            raise ValueError("no query has an item of its own class in the gallery: do they share labels?")
        self._known = np.bincount(codes[scores.known], minlength=self.classes).astype(np.float64)
        self._right_scores, self._right_codes = scores.best_positive[scores.right], codes[scores.right]

    def threshold(self, rate: float, times: Scores | None = None) -> float:
        """`times`: (C,) how often each class is drawn; once where None."""
        weights = np.ones(self.wrong) if times is None else times[self._wrong_codes]
        if not weights.any():
            return float("nan")
        return weighted_threshold(self._wrong_scores, weights, rate, self._resolution)

    def accepted(self, threshold: float) -> int:
        return int(np.count_nonzero(self._wrong_scores >= threshold))

    def accepted_elsewhere(self, threshold: float, times: Scores) -> float:
        """Share of the wrong scores of classes that were not drawn."""
        left_out = times[self._wrong_codes] == 0
        if np.isnan(threshold) or not left_out.any():
            return float("nan")
        return float((self._wrong_scores[left_out] >= threshold).mean())

    def identified(self, threshold: float, times: Scores) -> float:
        known = float(times @ self._known)
        right = float(times[self._right_codes[self._right_scores >= threshold]].sum())
        return right / known if known else float("nan")


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
    gallery_labels: object,
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

    gallery_labels: (G,) those of the items that `nearest_other` counts.
    """
    labels = np.asarray(gallery_labels)
    tried = np.flatnonzero(scores.nearest_other >= 0)
    names, codes = np.unique(labels[scores.nearest_other[tried]], return_inverse=True)
    codes, wrong = codes.reshape(-1), scores.best_other[tried]
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
