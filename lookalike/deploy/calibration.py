"""From vectors of labelled pictures to the thresholds of a model folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lookalike.core.errors import UserError
from lookalike.deploy.thresholds import Bounds, Figures, PairFigures, Thresholds, Validation
from lookalike.images.feature_table import FeatureTable
from lookalike.retrieval import (
    OpenSetScores,
    OperatingPoint,
    PairCounts,
    class_thresholds,
    evaluate_retrieval,
    scores_needed,
)

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
        the others. A file never counts as its own match, nor does a picture of the same label and camera.
    false_accept_rate: the share of pictures of unknown things that may be called `same`; unsure_rate: the
        share that may be called `same` or `unsure`, by default ten times as much, but at most a half.

    Raises UserError for rates that make no sense, labels that are missing or do not allow it, and vectors
    of two kinds.
    """
    unsure = check_rates(false_accept_rate, unsure_rate)
    found = query if gallery is None else gallery
    query_labels, gallery_labels = _labels(query), _labels(found)
    _check_classes(query_labels, None if gallery is None else gallery_labels)
    if query.bits != found.bits:
        raise UserError("the vectors of the two lists are of two kinds: make both with the same model")
    has_cameras = query.cameras is not None and found.cameras is not None
    try:
        result = evaluate_retrieval(
            _comparable(query),
            query_labels,
            _comparable(found),
            gallery_labels,
            query.cameras if has_cameras else None,
            found.cameras if has_cameras else None,
            ("recall@1",),
            _image_ids(query, found),
            binary=query.bits is not None,
            pairs=True,
        )
    except ValueError as error:
        raise UserError(str(error)) from None
    assert result.pairs is not None
    raw = OpenSetScores.of(result, gallery_labels)
    scale = _cosine if query.bits is None else _share_of_equal_bits(query.bits)
    resolution = ROUNDING if query.bits is None else 1 / query.bits
    scores = replace(raw, best_positive=scale(raw.best_positive), best_other=scale(raw.best_other))
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
            len(query), len(np.unique(query_labels)), len(found), len(np.unique(gallery_labels)),
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


def _labels(table: FeatureTable) -> npt.NDArray[Any]:
    if table.labels is None:
        raise UserError("thresholds need the label of every picture")
    return table.labels.astype(str)


def _check_classes(query: npt.NDArray[Any], gallery: npt.NDArray[Any] | None) -> None:
    labels, counts = np.unique(
        query if gallery is None else np.concatenate([query, gallery]), return_counts=True
    )
    if len(labels) < 2:
        raise UserError(
            f"thresholds need pictures of at least two classes, and all of these {counts.sum()} are of "
            f"'{labels[0]}' (the label of a picture is the name of its folder, or what --list says)"
        )
    if gallery is None and counts.max() < 2:
        raise UserError(
            f"thresholds need classes with two pictures or more, and each of these {len(labels)} has one: "
            "there is nothing to be recognised (the label of a picture is the name of its folder, or what "
            "--list says)"
        )
    if gallery is not None and not np.isin(query, gallery).any():
        raise UserError(
            "none of the pictures has a class that the gallery list has: do the two use the same labels?"
        )


def _image_ids(query: FeatureTable, gallery: FeatureTable) -> Any:
    """The files, so that no picture is compared with itself, whichever list it is named in."""
    if query.paths is None or gallery.paths is None:
        return query is gallery
    return tuple(
        np.array([str(Path(path).resolve()) for path in paths]) for paths in (query.paths, gallery.paths)
    )


def _comparable(table: FeatureTable) -> npt.NDArray[Any]:
    """Vectors whose inner product is the similarity that a gallery gives: of length 1, or codes of bits."""
    if table.bits is not None:
        return table.codes()
    norms = np.linalg.norm(table.vectors, axis=1, keepdims=True)
    return np.asarray(table.vectors / np.maximum(norms, 1e-12), dtype=np.float32)


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
