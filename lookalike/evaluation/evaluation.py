"""The figures of a model on a query set and a gallery."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from lookalike.evaluation.features import Binarise, Encode, collect_features
from lookalike.evaluation.gather import broadcast_json, together
from lookalike.evaluation.loader import EvaluationLoader
from lookalike.evaluation.loss import Loss
from lookalike.evaluation.metrics import MetricSpec
from lookalike.evaluation.scoring import Evaluation, score_features
from lookalike.recipe.views import Views

_ONE_VIEW = Views()


def evaluate(
    encode: Encode,
    query_loader: EvaluationLoader,
    gallery_loader: EvaluationLoader | None = None,
    metrics: Sequence[MetricSpec] | None = None,
    *,
    feature_normalize: bool = True,
    feature_binarize: Binarise | None = None,
    feature_from: str = "features",
    views: Views = _ONE_VIEW,
    reference_behaviour: bool = False,
    block_size: int | None = None,
    top_k: int | None = None,
    keep_features: bool = False,
    loss: Loss | None = None,
    **options: Any,
) -> Evaluation:
    """Encode query and gallery, rank the gallery for every query, score; every process gets the figures.

    encode: images (N, C, H, W), as the loader gives them, to features (N, D), or to a dict in which
        `feature_from` is the key of the features. Putting the model into evaluation mode and moving images
        to its device is up to the caller.
    gallery_loader: None where query and gallery are one set.
    metrics: from `build_metrics`; recall1, recall5 and mAP by default.
    feature_normalize, feature_binarize: the keys of Global: rows of length 1; then codes by `round` or
        `sign`.
    views: the feature is the mean over several views of a picture (`encode_views`); codes are made of that.
    block_size: queries ranked at a time (Global.sim_block_size); by default what suits memory and cache.
    top_k: also return the best k gallery items of each query. keep_features: also return features, labels
        and paths.
    loss: losses of (what encode gave, labels) over the query images; for when labels are training classes.
    options: further arguments of `score_features`: `re_ranking`, and those of
        `lookalike.retrieval.evaluate_retrieval`, such as `pairs=True`.

    An image never counts as its own match: where query and gallery are one set, and wherever a query file
        is in the gallery as well. Where both sets have cameras, gallery items with the label and camera of
        the query are removed. With `reference_behaviour` the figures are those of the reference: self
        matches count, junk stays in the ranking at similarity 0, blocks of 64 queries are averaged.

    Under torch.distributed each process encodes its share; figures equal those of one process exactly.
    Raises UserError when a set is empty, when features are NaN, and when no query has a positive.
    """
    start = time.perf_counter()
    collect = partial(
        collect_features,
        encode,
        feature_normalize=feature_normalize,
        feature_binarize=feature_binarize,
        feature_from=feature_from,
        views=views,
    )
    if gallery_loader is None or gallery_loader is query_loader:
        query, losses = collect(query_loader, loss=loss, description="images")
        gallery = query
    else:
        query, losses = collect(query_loader, loss=loss, description="query")
        gallery, _ = collect(gallery_loader, description="gallery")

    scored = None
    with together():
        if query is not None and gallery is not None:
            scored = score_features(
                query,
                gallery,
                metrics,
                reference_behaviour=reference_behaviour,
                feature_normalize=feature_normalize,
                block_size=block_size,
                top_k=top_k,
                **options,
            )
            scored = replace(scored, losses=losses, seconds=time.perf_counter() - start)
            if not keep_features:
                scored = replace(scored, query_set=None, gallery_set=None)
    told = broadcast_json(None if scored is None else scored.to_dict())
    return Evaluation.from_dict(told) if scored is None else scored
