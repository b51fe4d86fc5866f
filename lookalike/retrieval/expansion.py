"""Features moved towards their neighbours before the search: query expansion, database augmentation."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lookalike.retrieval.blocks import FloatArray, as_sets, parts_of, squared_lengths
from lookalike.retrieval.functions import rank

_GATHERED = 2**25
"""Bytes of neighbours that are gathered at a time."""


def expand_queries(
    query: Any, gallery: Any, k: int = 10, alpha: float = 0.0, *, memory_budget: int = 512 * 2**20
) -> FloatArray:
    """Average query expansion: each query plus its k nearest gallery items, weighted by their similarity.

    x' = x + Σ_{j ≤ k} max(x·y_j, 0)^alpha · y_j, scaled to length 1; y_j is the j-th nearest to x.

    query (Q, D), gallery (G, D): features of length 1 (the similarity is then the cosine), as
        `evaluate_retrieval` takes them. Returns new queries (Q, D) to search the gallery with, float32, or
        float64 for float64.
    k: a k beyond the gallery means the whole gallery.
    alpha: 0 is the plain mean (Chum, Philbin, Sivic, Isard, Zisserman: Total Recall, ICCV 2007, whose spatial
        check is left out); 3 is usual for weights (Radenović, Tolias, Chum: Fine-tuning CNN Image Retrieval
        with No Human Annotation, TPAMI 2018).

    The query itself must not be among the items: where query and gallery are one set, `augment_database` of
        it moves each item and leaves it out of its own neighbours.
    Raises ValueError for features that are not of length 1, k below 1 and alpha below 0.

    >>> import numpy as np
    >>> query, gallery = np.array([[1.0, 0.0]]), np.array([[0.6, 0.8], [-1.0, 0.0]])
    >>> expand_queries(query, gallery, k=1).round(4).tolist()
    [[0.8944, 0.4472]]
    """
    queries, items = as_sets(query, gallery)
    return _moved(queries, items, k, alpha, False, memory_budget)


def augment_database(
    gallery: Any, k: int = 10, alpha: float = 0.0, *, memory_budget: int = 512 * 2**20
) -> FloatArray:
    """Database augmentation: each gallery item plus its k nearest other items, weighted by their similarity.

    y' = y + Σ_{j ≤ k} max(y·y_j, 0)^alpha · y_j, scaled to length 1; y_j is the j-th nearest to y. (Turcot,
    Lowe: Better matching with fewer features, ICCV workshops 2009; Arandjelović, Zisserman: Three things
    everyone should know to improve object retrieval, CVPR 2012.)

    gallery (G, D): features of length 1. Returns new ones (G, D), to be enrolled in their place. k and alpha
        are those of `expand_queries`, as are the errors. Where query and gallery are one set, these are the
        new queries too.

    >>> import numpy as np
    >>> augment_database(np.array([[1.0, 0.0], [0.6, 0.8]]), k=1).round(4).tolist()
    [[0.8944, 0.4472], [0.8944, 0.4472]]
    """
    items, _ = as_sets(gallery, None)
    return _moved(items, items, k, alpha, True, memory_budget)


def _moved(
    features: npt.NDArray[Any],
    items: npt.NDArray[Any],
    k: int,
    alpha: float,
    one_set: bool,
    memory_budget: int,
) -> FloatArray:
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    if not alpha >= 0:
        raise ValueError(f"alpha must be at least 0, got {alpha}")
    check_unit_length(features, "query" if not one_set else "gallery")
    if not one_set:
        check_unit_length(items, "gallery")
    top = rank(features, None if one_set else items, k, memory_budget=memory_budget)
    moved: FloatArray = features.astype(np.result_type(features, np.float32))
    weights = np.maximum(top.similarities, 0).astype(moved.dtype) ** alpha
    weights[top.indices < 0] = 0  # there are fewer than k items
    for part in parts_of(len(moved), max(1, _GATHERED // (weights.shape[1] * moved[0].nbytes))):
        neighbours = items[top.indices[part]].astype(moved.dtype, copy=False)
        moved[part] += np.einsum("qk,qkd->qd", weights[part], neighbours)
    return scaled_to_one(moved)


def check_unit_length(features: npt.NDArray[Any], name: str) -> None:
    """Raise ValueError where a row is not of length 1, within what half precision leaves."""
    off = np.abs(squared_lengths(features, np.float64) - 1)
    if off.max() > 0.02:
        raise ValueError(
            f"{np.count_nonzero(off > 0.02)} of {len(features)} {name} features are not of length 1: "
            "normalise them first"
        )


def scaled_to_one(features: FloatArray) -> FloatArray:
    """Rows scaled to length 1 in place; a row of zeros stays."""
    lengths = np.sqrt(squared_lengths(features, features.dtype))
    features /= np.maximum(lengths, np.finfo(features.dtype).tiny)[:, None]
    return features
