"""The figures of a model on a query set and a gallery."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from lookalike.core.errors import UserError
from lookalike.core.log import warn_once
from lookalike.core.progress import track
from lookalike.evaluation.features import Binarise, Encode, FeatureSet, collect_features
from lookalike.evaluation.gather import broadcast_json, is_collector, together
from lookalike.evaluation.loader import EvaluationLoader, LeftOut
from lookalike.evaluation.loss import Loss
from lookalike.evaluation.metrics import MetricSpec, build_metrics, figures_of
from lookalike.retrieval import TopK, evaluate_retrieval


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found. `metrics` has the figures by the keys of recipes, the deciding one first.

    `query_set`, `gallery_set` (the same object when query and gallery are one set) and `top_k` (positions in
    `gallery_set`) are there on rank 0, and only when asked for.
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


def evaluate(
    encode: Encode,
    query_loader: EvaluationLoader,
    gallery_loader: EvaluationLoader | None = None,
    metrics: Sequence[MetricSpec] | None = None,
    *,
    feature_normalize: bool = True,
    feature_binarize: Binarise | None = None,
    feature_from: str = "features",
    reference_behaviour: bool = False,
    block_size: int | None = None,
    top_k: int | None = None,
    keep_features: bool = False,
    loss: Loss | None = None,
) -> Evaluation:
    """Encode query and gallery, rank the gallery for every query, score; every process gets the figures.

    encode: images (N, C, H, W), as the loader gives them, to features (N, D), or to a dict in which
        `feature_from` is the key of the features. Putting the model into evaluation mode and moving images
        to its device is up to the caller.
    gallery_loader: None where query and gallery are one set.
    metrics: from `build_metrics`; recall1, recall5 and mAP by default.
    feature_normalize, feature_binarize: the keys of Global: rows of length 1; then codes by `round` or
        `sign`.
    block_size: queries ranked at a time (Global.sim_block_size); by default what suits memory and cache.
    top_k: also return the best k gallery items of each query. keep_features: also return features, labels
        and paths.
    loss: losses of (what encode gave, labels) over the query images; for when labels are training classes.

    An image never counts as its own match: where query and gallery are one set, and wherever a query file
        is in the gallery as well. Where both sets have cameras, gallery items with the label and camera of
        the query are removed. With `reference_behaviour` the figures are those of the reference: self
        matches count, junk stays in the ranking at similarity 0, blocks of 64 queries are averaged.

    Under torch.distributed each process encodes its share; figures equal those of one process exactly.
    Raises UserError when a set is empty, when features are NaN, and when no query has a positive.
    """
    start = time.perf_counter()
    figures = figures_of(build_metrics() if metrics is None else metrics)
    collect = partial(
        collect_features,
        encode,
        feature_normalize=feature_normalize,
        feature_binarize=feature_binarize,
        feature_from=feature_from,
    )
    if gallery_loader is None or gallery_loader is query_loader:
        query, losses = collect(query_loader, loss=loss, description="images")
        gallery = query
    else:
        query, losses = collect(query_loader, loss=loss, description="query")
        gallery, _ = collect(gallery_loader, description="gallery")

    outcome: dict[str, Any] = {}
    top = None
    with together():
        if query is not None and gallery is not None:
            outcome, top = _score(query, gallery, figures, reference_behaviour, block_size, top_k)
            outcome["losses"] = losses
    outcome = broadcast_json(outcome)
    kept = keep_features and is_collector()
    return Evaluation(
        metrics=outcome["metrics"],
        queries=outcome["queries"],
        gallery=outcome["gallery"],
        queries_without_positive=outcome["queries_without_positive"],
        broken=[LeftOut(*entry) for entry in outcome["broken"]],
        seconds=time.perf_counter() - start,
        losses=outcome["losses"],
        query_set=query if kept else None,
        gallery_set=gallery if kept else None,
        top_k=top,
    )


def _score(
    query: FeatureSet,
    gallery: FeatureSet,
    figures: dict[str, str],
    reference_behaviour: bool,
    block_size: int | None,
    top_k: int | None,
) -> tuple[dict[str, Any], TopK | None]:
    for found, name in ((query, "query"), (gallery, "gallery")):
        _check(found, name)
    cameras = query.cameras is not None and gallery.cameras is not None
    if not cameras and (query.cameras is not None or gallery.cameras is not None):
        has, lacks = ("query", "gallery") if gallery.cameras is None else ("gallery", "query")
        warn_once(
            f"the {has} set has cameras and the {lacks} set has none: images of the query's own camera count "
            "as matches, where the usual protocol leaves them out; give both sets cameras, or neither"
        )
    try:
        result = evaluate_retrieval(
            query.features,
            query.labels,
            gallery.features,
            gallery.labels,
            query.cameras if cameras else None,
            gallery.cameras if cameras else None,
            metrics=list(figures.values()),
            exclude_self=False if reference_behaviour else _same_images(query, gallery),
            block_size=block_size,
            top_k=top_k,
            reference_behaviour=reference_behaviour,
            progress=lambda parts: track(parts, "ranking", total=len(parts), unit="blocks"),
        )
    except ValueError as error:
        raise UserError(str(error)) from error
    outcome = {
        "metrics": {key: result[name] for key, name in figures.items()},
        "queries": result.queries,
        "gallery": result.gallery,
        "queries_without_positive": result.queries_without_positive,
        "broken": list(dict.fromkeys([*query.broken, *gallery.broken])),
    }
    return outcome, result.top_k


def _check(found: FeatureSet, name: str) -> None:
    if not len(found):
        left_out = (
            f": all {len(found.broken)} images are broken, the first: {found.broken[0]}"
            if found.broken
            else ""
        )
        raise UserError(f"the {name} set of the evaluation is empty{left_out}")
    broken = np.flatnonzero(~np.isfinite(found.features).all(axis=1))
    if broken.size:
        first = found.paths[broken[0]] if found.paths else f"row {found.indices[broken[0]]}"
        raise UserError(
            f"the model gives NaN or infinite features for {broken.size} of {len(found)} {name} images "
            f"(first: {first}): its training has diverged or its weights are damaged"
        )


def _same_images(query: FeatureSet, gallery: FeatureSet) -> Any:
    """Ids of images by their file, for `exclude_self`; where files are not known, if both are one set."""
    if query.paths is None or gallery.paths is None:
        return query is gallery
    numbers: dict[str, int] = {}

    def ids(found: FeatureSet) -> list[int]:
        # pathlib resolves links on the disk and is slow for a hundred thousand of them
        files = (os.path.abspath(path) for path in found.paths or [])  # noqa: PTH100
        return [numbers.setdefault(file, len(numbers)) for file in files]

    return ids(query), ids(gallery)
