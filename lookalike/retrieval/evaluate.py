"""The figures of a query set against a gallery."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lookalike.retrieval.blocks import (
    IntArray,
    Similarities,
    as_codes,
    as_features,
    as_labels,
    block_rows,
    parts_of,
)
from lookalike.retrieval.metrics import average_precision, parse_metric
from lookalike.retrieval.ranking import Candidates, TopK, rank_block, same_image_ids
from lookalike.retrieval.reference import reference_figures

DEFAULT_METRICS = ("recall@1", "recall@5", "mAP", "mINP", "precision@1")


class Result(dict[str, float]):
    """Figures by the names that were asked for, and what stands behind them.

    queries, gallery: how many of each there were.
    queries_without_positive: queries whose label no ranked gallery item has; they are in no mean.
    has_positive: (Q,) which queries the means are over.
    per_query: for each metric its value per query, (Q,); 0 where `has_positive` is False.
    average_precision: (Q,), first_hit_rank: (Q,) one-based; both 0 where `has_positive` is False.
    top_k: the best gallery items of each query, when asked for.
    With `reference_behaviour` only the figures and the counts are there; the rest is None.
    """

    def __init__(
        self,
        figures: dict[str, float],
        *,
        gallery: int,
        has_positive: npt.NDArray[np.bool_],
        per_query: dict[str, npt.NDArray[np.float64]] | None = None,
        average_precision: npt.NDArray[np.float64] | None = None,
        first_hit_rank: IntArray | None = None,
        top_k: TopK | None = None,
    ) -> None:
        super().__init__(figures)
        self.queries = len(has_positive)
        self.gallery = gallery
        self.has_positive = has_positive
        self.queries_without_positive = int(np.count_nonzero(~has_positive))
        self.per_query = per_query
        self.average_precision = average_precision
        self.first_hit_rank = first_hit_rank
        self.top_k = top_k


def evaluate_retrieval(
    query: Any,
    query_labels: Any,
    gallery: Any,
    gallery_labels: Any,
    query_cameras: Any = None,
    gallery_cameras: Any = None,
    metrics: Sequence[str] = DEFAULT_METRICS,
    exclude_self: Any = False,
    *,
    block_size: int | None = None,
    memory_budget: int = 512 * 2**20,
    binary: bool = False,
    top_k: int | None = None,
    reference_behaviour: bool = False,
    progress: Callable[[Sequence[slice]], Iterable[slice]] | None = None,
) -> Result:
    """Rank the gallery for every query by inner product and score the ranking, exactly and in bounded memory.

    query (Q, D), gallery (G, D): features as NumPy arrays or torch tensors, float16, float32 or float64;
        they are compared as they are, so normalise them first where the cosine is meant.
    query_labels (Q,), gallery_labels (G,): numbers or strings; a gallery item with the label of the query
        is a positive.
    query_cameras, gallery_cameras: where given, gallery items with the label AND the camera of the query
        are junk and are removed.
    metrics: `recall@k`, `precision@k`, `mAP`, `mINP`; see `lookalike.retrieval.metrics` for the formulas.
    exclude_self: which gallery item is the query image itself, so that it never counts: True (query i is
        gallery item i), the gallery position of each query (Q,) with -1 for none, or a pair of image ids
        `(of queries, of gallery)`.
    block_size: queries at a time; by default as many as `memory_budget` (bytes beyond the features) and the
        cache allow.
    binary: features are codes of 0 and 1 or of -1 and 1, compared by Hamming distance.
    top_k: also return the best k gallery items of each query.
    progress: wraps the list of blocks to go through, for a bar.

    Ties count against the query (see `lookalike.retrieval.ranking`). A k beyond the gallery means the whole
    gallery. Means are over queries that have a positive; the others are counted in
    `queries_without_positive`.

    reference_behaviour: the figures PaddleClas gives. Junk and the image itself stay in the ranking as
        misses at similarity 0; ties fall as a stable sort leaves them; means are taken over blocks of
        `block_size` (64) queries and averaged by their size; mINP is zero-based; precision is over all
        queries; a block without any positive makes recall, mAP and mINP NaN.

    Raises ValueError, with a sentence, for shapes that do not fit, NaN or infinite features, and when no
    query has a positive.

    >>> import numpy as np
    >>> features, labels = np.eye(3)[[0, 0, 1, 2]], np.array([7, 7, 8, 9])
    >>> result = evaluate_retrieval(features, labels, features, labels, exclude_self=True)
    >>> result["recall@1"], result.queries_without_positive
    (1.0, 2)
    """
    wanted = [parse_metric(name) for name in metrics]
    prepare = as_codes if binary else as_features
    query_features, gallery_features = prepare(query, "query"), prepare(gallery, "gallery")
    queries, size = len(query_features), len(gallery_features)
    if query_features.shape[1] != gallery_features.shape[1]:
        raise ValueError(
            f"query features have {query_features.shape[1]} dimensions and gallery features "
            f"{gallery_features.shape[1]}: they must come from the same model"
        )
    if (query_cameras is None) != (gallery_cameras is None):
        raise ValueError("cameras must be given for both query and gallery, or for neither")
    if block_size is not None and block_size < 1:
        raise ValueError(f"block_size must be at least 1, got {block_size}")
    candidates = Candidates(
        as_labels(query_labels, "query labels", queries),
        as_labels(gallery_labels, "gallery labels", size),
        None
        if query_cameras is None
        else (
            as_labels(query_cameras, "query cameras", queries),
            as_labels(gallery_cameras, "gallery cameras", size),
        ),
        same_image_ids(exclude_self, queries, size),
    )
    if reference_behaviour:
        if top_k is not None:
            raise ValueError(
                "top_k lists the honest ranking: it cannot be asked for together with reference_behaviour"
            )
        figures, has_positive = reference_figures(
            query_features, gallery_features, candidates, wanted, block_size or 64
        )
        return Result(figures, gallery=size, has_positive=has_positive)

    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be at least 1, got {top_k}")
    similarities = Similarities(query_features, gallery_features)
    rows = block_size or block_rows(size, similarities.dtype.itemsize, memory_budget)
    top = TopK.empty(queries, min(top_k, size), similarities.dtype) if top_k else None
    per_query = {metric.name: np.zeros(queries) for metric in wanted}
    precision = np.zeros(queries)
    first = np.zeros(queries, dtype=np.int64)
    has_positive = np.zeros(queries, dtype=bool)
    parts = parts_of(queries, rows)
    for part in progress(parts) if progress else parts:
        members, ranking = rank_block(similarities.of(part), part, candidates, top)
        if not members.size:
            continue
        has_positive[members] = True
        first[members] = ranking.first
        precision[members] = average_precision(ranking)
        for metric in wanted:
            per_query[metric.name][members] = metric.per_query(ranking)
    if not has_positive.any():
        raise ValueError(
            f"none of the {queries} queries has a gallery item with its label (junk and the image itself "
            "do not count), so there is nothing to score: check that query and gallery share labels"
        )
    return Result(
        {name: float(values[has_positive].mean()) for name, values in per_query.items()},
        gallery=size,
        has_positive=has_positive,
        per_query=per_query,
        average_precision=precision,
        first_hit_rank=first,
        top_k=top,
    )
