"""Features of a query set and a gallery in, the figures of the search out. Needs no torch."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from lookalike.core.errors import UserError
from lookalike.core.log import warn_once
from lookalike.core.progress import track
from lookalike.evaluation.feature_set import FeatureSet
from lookalike.evaluation.loader import LeftOut
from lookalike.evaluation.metrics import MetricSpec, build_metrics, figures_of
from lookalike.evaluation.refinement import Refinement
from lookalike.images.feature_table import row_parts
from lookalike.retrieval import (
    RerankedSimilarities,
    Result,
    TopK,
    evaluate_retrieval,
    parse_metric,
    scores_needed,
)
from lookalike.retrieval.blocks import as_codes, row_hashes
from lookalike.retrieval.rates import Rate

_ODD = np.uint64(0x9E3779B97F4A7C15)
"""Spreads the numbers of files over 64 bits."""


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found. `metrics` has the figures by the keys of recipes, the deciding one first.

    `result` (what stands behind the figures, query by query) is there on rank 0. `query_set`, `gallery_set`
    (the same object when query and gallery are one set) and `top_k` (positions in `gallery_set`) are there on
    rank 0, and only when asked for.
    """

    metrics: dict[str, float]
    queries: int
    gallery: int
    queries_without_positive: int
    broken: list[LeftOut]
    seconds: float
    losses: dict[str, float] = field(default_factory=dict)
    query_set: FeatureSet | None = None
    gallery_set: FeatureSet | None = None
    top_k: TopK | None = None
    result: Result | None = None
    figures: Mapping[str, str] = field(default_factory=dict)
    """The name in `result` of each figure of `metrics`."""

    @property
    def counts(self) -> str:
        """What was scored, in words."""
        without = (
            f", {self.queries_without_positive} without a match" if self.queries_without_positive else ""
        )
        return f"{self.queries} queries{without}, {self.gallery} gallery pictures"

    def to_dict(self) -> dict[str, Any]:
        """Everything but the arrays, ready for JSON."""
        return {
            "metrics": self.metrics,
            "losses": self.losses,
            "queries": self.queries,
            "gallery": self.gallery,
            "queries_without_positive": self.queries_without_positive,
            "broken": [each._asdict() for each in self.broken],
            "seconds": self.seconds,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Evaluation:
        """What `to_dict` gave, without the arrays: what other processes learn from rank 0."""
        return cls(**{**values, "broken": [LeftOut(**each) for each in values["broken"]]})


def score_features(
    query: FeatureSet,
    gallery: FeatureSet | None = None,
    metrics: Sequence[MetricSpec] | None = None,
    *,
    reference_behaviour: bool = False,
    refinement: Refinement | None = None,
    re_ranking: bool = False,
    feature_normalize: bool = True,
    block_size: int | None = None,
    top_k: int | None = None,
    **options: Any,
) -> Evaluation:
    """Rank the gallery for every query by inner product (codes by Hamming distance) and score the ranking.

    gallery: None where query and gallery are one set. The features are compared as they are: scale them to
        length 1 first where the cosine is meant.
    metrics: from `build_metrics`; recall1, recall5 and mAP by default.
    refinement: what is done to the features first.
    re_ranking: rank by the k-reciprocal distance (k1 20, k2 6, lamb 0.3) that starts from the squared
        Euclidean distance, of codes from the Hamming distance; see `lookalike.retrieval.rerank`.
    feature_normalize: what Global said when the features were made. With `reference_behaviour`, re-ranking
        goes by it, not by their length.
    options: further arguments of `lookalike.retrieval.evaluate_retrieval`, such as `pairs=True`.
    The rules and the other arguments are those of `lookalike.evaluation.evaluate`.

    Raises UserError when a set is empty, when features are NaN or of different sizes, and when no query has a
    positive.

    >>> vectors, labels = np.eye(3)[[0, 0, 1]], np.array([7, 7, 8])
    >>> found = score_features(FeatureSet(vectors, labels, None, np.arange(3), None))
    >>> found.metrics["recall1"], found.counts
    (1.0, '3 queries, 1 without a match, 3 gallery pictures')
    """
    start = time.perf_counter()
    gallery = query if gallery is None else gallery
    figures = figures_of(build_metrics() if metrics is None else metrics)
    for found, name in ((query, "query"), (gallery, "gallery")):
        _check(found, name)
    if query.binary != gallery.binary:
        raise UserError("query and gallery must both be binary codes, or both be real features")
    cameras = _cameras_count(query, gallery)
    images = None if reference_behaviour else _same_images(query, gallery)  # before the features are moved
    if refinement is not None:
        known = images if isinstance(images, tuple) and query is not gallery else ((), ())
        if refinement.query_expansion and not set(known[0]).isdisjoint(known[1]):
            raise UserError(
                "query expansion needs a gallery without the pictures of the queries: each would find itself"
            )
        query, gallery = refinement(query, gallery)
    try:
        if re_ranking:
            # for features of length 1 the squared distance is 2 - 2 cos, so ours need not know which they are
            options["similarities"] = _reranked(
                query,
                gallery,
                feature_normed=reference_behaviour and feature_normalize,
                reference_behaviour=reference_behaviour,
            )
        result = evaluate_retrieval(
            query.features,
            query.labels,
            gallery.features,
            gallery.labels,
            query.cameras if cameras else None,
            gallery.cameras if cameras else None,
            metrics=list(figures.values()),
            exclude_self=False if images is None else images,
            block_size=block_size,
            binary=query.binary,
            top_k=top_k,
            reference_behaviour=reference_behaviour,
            distractors=gallery.distractors,
            **options,
            progress=lambda parts: track(parts, "ranking", total=len(parts), unit="blocks"),
        )
    except ValueError as error:
        raise UserError(str(error)) from error
    _tell_of_rates(result, one_set=query is gallery)
    if result.best_other is not None and np.isneginf(result.best_other).all():
        warn_once(
            "no query can be taken for another class: all that it is compared with is of its own, so the "
            "figures are perfect whatever the features are"
        )
    return Evaluation(
        metrics={key: result[name] for key, name in figures.items()},
        queries=result.queries,
        gallery=result.gallery,
        queries_without_positive=result.queries_without_positive,
        broken=list(dict.fromkeys([*query.broken, *gallery.broken])),
        seconds=time.perf_counter() - start,
        query_set=query,
        gallery_set=gallery,
        top_k=result.top_k,
        result=result,
        figures=figures,
    )


def _tell_of_rates(result: Result, one_set: bool) -> None:
    """Warn of rates that need more wrong answers than there are."""
    for name, tried in result.tried.items():
        rate = parse_metric(name)
        if one_set and isinstance(rate, Rate) and rate.kind == "TAR":
            tried //= 2  # each pair is met from both its ends
        if (
            isinstance(rate, Rate)
            and rate.false_accept_rate > 0
            and tried < scores_needed(rate.false_accept_rate)
        ):
            of = "pairs of two classes" if rate.kind == "TAR" else "unknown things"
            warn_once(
                f"{name} is found on {tried} {of}, of which not one may be accepted: "
                f"{scores_needed(rate.false_accept_rate)} are needed for the rate to mean something"
            )


def _reranked(query: FeatureSet, gallery: FeatureSet, **options: Any) -> RerankedSimilarities:
    asked = as_codes(query.features, "query") if query.binary else query.features
    known = gallery.features
    if gallery is query:
        known = asked
    elif gallery.binary:
        known = as_codes(known, "gallery")
    return RerankedSimilarities(asked, known, **options)


def _check(found: FeatureSet, name: str) -> None:
    if not len(found):
        left_out = (
            f": all {len(found.broken)} images are broken, the first: {found.broken[0]}"
            if found.broken
            else ""
        )
        raise UserError(f"the {name} set of the evaluation is empty{left_out}")
    parts = [found.features[part] for part in row_parts(len(found))]
    broken = np.flatnonzero(~np.concatenate([np.isfinite(part).all(axis=1) for part in parts]))
    if broken.size:
        raise UserError(
            f"the model gives NaN or infinite features for {broken.size} of {len(found)} {name} images "
            f"(first: {found.name_of(broken[0])}): its training has diverged or its weights are damaged"
        )
    zero = np.flatnonzero(~np.concatenate([part.any(axis=1) for part in parts]))
    if zero.size and not found.binary:
        warn_once(
            f"{zero.size} of {len(found)} {name} features are zero (first: {found.name_of(zero[0])}): they "
            "are equally near to everything, and ties count against a query"
        )


def _cameras_count(query: FeatureSet, gallery: FeatureSet) -> bool:
    """Whether cameras decide about matches: both sets must have them."""
    has_cameras = [found.cameras is not None for found in (query, gallery)]
    if any(has_cameras) and not all(has_cameras):
        has, lacks = ("query", "gallery") if gallery.cameras is None else ("gallery", "query")
        warn_once(
            f"the {has} set has cameras and the {lacks} set has none: images of the query's own camera count "
            "as matches, where the usual protocol leaves them out; give both sets cameras, or neither"
        )
    return all(has_cameras)


def _same_images(query: FeatureSet, gallery: FeatureSet) -> Any:
    """Ids of images by their file, for `exclude_self`; where files are not known, if both are one set."""
    if query.paths is None or gallery.paths is None:
        if query is not gallery:
            _tell_of_copies(query, gallery, None)
        return query is gallery
    numbers: dict[str, int] = {}

    def ids(found: FeatureSet) -> list[int]:
        # pathlib resolves links on the disk and is slow for a hundred thousand of them
        files = (os.path.abspath(path) for path in found.paths or [])  # noqa: PTH100
        return [numbers.setdefault(file, len(numbers)) for file in files]

    both = ids(query), ids(gallery)
    _tell_of_copies(query, gallery, both)
    return both


def _tell_of_copies(
    query: FeatureSet, gallery: FeatureSet, images: tuple[Sequence[int], Sequence[int]] | None
) -> None:
    """Warn where queries seem to be in the gallery themselves, which makes figures look perfect.

    images: numbers of the files of both, where they are known; a file is no copy of itself.
    """
    kinds = [(found.features.dtype, found.features.shape[1]) for found in (query, gallery)]
    if query.binary or kinds[0] != kinds[1]:  # codes of different pictures are often the same
        return
    asked, known = (row_hashes(np.ascontiguousarray(found.features)) for found in (query, gallery))
    copies = _how_often(asked, known)
    told = ": if these are the same pictures, each is its own match, which only the paths of both would tell"
    if images is not None:
        told = " of another name: copies and links of a query count as matches"
        copies -= _how_often(
            *(
                vectors ^ (np.asarray(files, np.uint64) * _ODD)
                for vectors, files in zip((asked, known), images, strict=True)
            )
        )
    count = int(np.count_nonzero(copies))
    if not count:
        return
    if len(np.unique(asked)) < len(query) / 2 and np.median(copies) > 1:
        told = ": the model tells few of these pictures apart, so its training may have collapsed"
    warn_once(f"{count} of {len(query)} queries have exactly the vector of a gallery picture{told}")


def _how_often(values: npt.NDArray[np.uint64], among: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """How often each value is among others: (N,), (M,) -> (N,)."""
    ordered = np.sort(among)
    return np.searchsorted(ordered, values, side="right") - np.searchsorted(ordered, values, side="left")
