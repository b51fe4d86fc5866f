"""From vectors of labelled pictures to the thresholds of a model folder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from lookalike.core.errors import UserError
from lookalike.deploy.thresholds import Bounds, Figures, PairFigures, Thresholds, Validation
from lookalike.evaluation.feature_files import feature_sets
from lookalike.evaluation.feature_set import FeatureSet
from lookalike.evaluation.metrics import metrics_named
from lookalike.evaluation.scoring import score_features
from lookalike.images.feature_table import UNKNOWN, FeatureTable
from lookalike.retrieval import OpenSetScores, OperatingPoint, PairCounts, class_thresholds, scores_needed

CONFIDENCE = 0.95
ROUNDING = 2e-6
"""Cosines that differ by less may be equal: libraries round the sums of float32 differently."""


def check_rates(false_accept_rate: float, unsure_rate: float | None) -> float:
    """The unsure rate: the one that was asked for, else ten times the other, but at most a half.

    Raises UserError where the two make no sense.
    """
    unsure = max(false_accept_rate, min(10 * false_accept_rate, 0.5)) if unsure_rate is None else unsure_rate
    if not 0 < false_accept_rate <= unsure < 1:
        raise UserError(
            "rates must be above 0 and below 1, and the unsure rate not below the false-accept rate; got "
            f"{false_accept_rate:g} and {unsure:g}"
        )
    return unsure


def calibrate(
    fingerprint: str,
    query: FeatureTable,
    gallery: FeatureTable | None = None,
    *,
    false_accept_rate: float = 0.01,
    unsure_rate: float | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Thresholds:
    """Thresholds of the model with this fingerprint, on the similarities that the search of a gallery gives.

    query: labelled vectors with paths; gallery: those that they are searched in, by default each among all
        the others. They are compared by the rules of `lookalike eval`: a file never counts as its own match,
        nor does a picture of the same label and camera. The label -1 is no class: such a picture in the
        gallery is ranked and never right, and as a query it is an unknown thing, whose best score is wrong.
    false_accept_rate: the share of pictures of unknown things that may be called `same`; unsure_rate: the
        share that may be called `same` or `unsure`, by default ten times as much, but at most a half.

    Raises UserError for rates that make no sense, labels that are missing or do not allow it, and vectors
    of two kinds.
    """
    unsure = check_rates(false_accept_rate, unsure_rate)
    if query.labels is None or (gallery is not None and gallery.labels is None):
        raise UserError("thresholds need the label of every picture")
    if gallery is not None and query.bits != gallery.bits:
        raise UserError("the vectors of the two lists are of two kinds: make both with the same model")
    asked, found = feature_sets(query, gallery)
    _check_classes(asked, found)
    result = score_features(asked, found, metrics_named(["recall@1"]), pairs=[false_accept_rate]).result
    assert result is not None
    assert result.pairs is not None
    raw = OpenSetScores.of(result, found.labels)
    scale = _cosine if query.bits is None else _share_of_equal_bits(query.bits)
    resolution = ROUNDING if query.bits is None else 1 / query.bits
    scores = OpenSetScores(
        _each_unknown_alone(asked),
        scale(raw.best_positive),
        scale(raw.best_other),
        raw.other_labels.astype(str),
    )
    points = [
        OperatingPoint.find(
            scores, rate, resolution=resolution, confidence=CONFIDENCE, resamples=resamples, seed=seed
        )
        for rate in (false_accept_rate, unsure)
    ]
    by_class, by_class_unsure = (
        class_thresholds(scores, rate, resolution=resolution) for rate in (false_accept_rate, unsure)
    )
    return Thresholds(
        fingerprint,
        Validation(
            len(asked), len(_known(asked)[0]), len(found), len(_known(found)[0]),
            float(scores.right[scores.known].mean()), CONFIDENCE,
        ),
        _figures(points[0]),
        _figures(points[1]),
        _pair_figures(result.pairs, false_accept_rate, scale, counted_twice=gallery is None),
        _bounds(by_class.rest, by_class_unsure.rest),
        {
            label: _bounds(threshold, by_class_unsure.own.get(label, (by_class_unsure.rest, 0))[0])
            for label, (threshold, _) in by_class.own.items()
        },
        (by_class.false_accept_rate, by_class.identification_rate) if by_class.own else None,
    )  # fmt: skip


def _known(*sets: FeatureSet) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """The classes of all sets together, and how many pictures each has; those of no known class are none."""
    labels = np.concatenate(
        [each.labels if each.distractors is None else each.labels[~each.distractors] for each in sets]
    )
    return np.unique(labels, return_counts=True)


def _each_unknown_alone(query: FeatureSet) -> npt.NDArray[Any]:
    """Labels for drawing classes: what is known of none is not one class, so each picture is its own."""
    labels = query.labels.astype(str)
    if query.distractors is None:
        return labels
    rows = np.char.add(f"{UNKNOWN} in row ", np.arange(len(query)).astype(str))
    return np.where(query.distractors, rows, labels)


def _check_classes(query: FeatureSet, gallery: FeatureSet) -> None:
    sets = (query,) if gallery is query else (query, gallery)
    labels, counts = _known(*sets)
    if len(labels) < 2:
        classes = [f"'{label}'" for label in labels]
        if any(each.distractors is not None for each in sets):
            classes.append(f"no known class ({UNKNOWN})")
        raise UserError(
            f"thresholds need pictures of at least two classes, and all of these {sum(map(len, sets))} are "
            f"of {' or of '.join(classes)} (the label of a picture is the name of its folder, or what "
            "--list says)"
        )
    if gallery is query and counts.max() < 2:
        raise UserError(
            f"thresholds need classes with two pictures or more, and each of these {len(labels)} has one: "
            "there is nothing to be recognised (the label of a picture is the name of its folder, or what "
            "--list says)"
        )
    if not np.isin(_known(query)[0], _known(gallery)[0]).any():
        raise UserError(
            "none of the pictures has a class that the gallery list has: do the two use the same labels?"
        )


def _cosine(products: Any) -> Any:
    """Rounding may make the product of a vector with itself larger than 1."""
    return np.minimum(products, 1.0)


def _share_of_equal_bits(bits: int) -> Callable[[Any], Any]:
    def share(products: Any) -> Any:
        return 1.0 - (bits - products) / 2 / bits  # the product of two codes is bits - 2 * Hamming distance

    return share


def _figures(point: OperatingPoint) -> Figures:
    return Figures(
        point.threshold,
        point.threshold_interval,
        point.wanted,
        point.supported,
        point.false_accepts,
        point.wrong,
        point.false_accept_rate,
        point.expected_false_accept_rate,
        point.false_accept_interval,
        point.identification_rate,
        point.identification_interval,
    )


def _pair_figures(
    pairs: PairCounts, rate: float, scale: Callable[[Any], Any], counted_twice: bool
) -> PairFigures:
    """`counted_twice`: query and gallery are one set, so that each pair is met from both its ends."""
    tried = int(pairs.others.sum()) // (2 if counted_twice else 1)
    return PairFigures(
        float(scale(pairs.threshold_at(rate))),
        rate,
        tried >= scores_needed(rate),
        tried,
        pairs.true_accept_rate(rate),
    )


def _bounds(same: float, unsure: float) -> Bounds:
    """What is the same is never less than unsure, also where one of the two is that of all classes."""
    return Bounds(same, min(same, unsure))
