"""One figure by one call, and the ranking itself: for those who have features and want a number.

`evaluate_retrieval` gives many figures of one pass, with what stands behind them; each function here is one
    figure of it. All rank by inner product (normalise the features first where the cosine is meant), exactly
    and in blocks: beside the features they hold `memory_budget` bytes at most, 512 MB, however large the
    gallery is. A tie counts against the query. P is the number of positives of a query, r_i the one-based
    rank of the i-th of them; means are over queries that have a positive.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lookalike.retrieval.blocks import accelerator_of, as_count, as_sets, block_rows, parts_of
from lookalike.retrieval.candidates import Candidates, same_image_ids
from lookalike.retrieval.evaluate import evaluate_retrieval
from lookalike.retrieval.ranking import TopK, similarities_and_ranker


def rank(
    query: Any,
    gallery: Any = None,
    k: int = 10,
    *,
    exclude_self: Any = None,
    binary: bool = False,
    memory_budget: int = 512 * 2**20,
) -> TopK:
    """The k most similar gallery items of each query, best first; no labels are needed.

    query (Q, D), gallery (G, D): features as `evaluate_retrieval` takes them, also memory-mapped. Without a
        gallery every query is searched for among the others.
    k: a k beyond the gallery means the whole gallery.
    exclude_self: which gallery item is the query itself, as for `evaluate_retrieval`; by default True
        without a gallery and False with one.
    binary: codes of 0 and 1 or of -1 and 1, nearest by Hamming distance first.

    Items of equal similarity are listed in the order of the gallery. Where fewer than k items are left, the
    position is -1 and the similarity -inf.

    >>> import numpy as np
    >>> gallery = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    >>> rank(np.array([[0.0, 1.0]]), gallery, k=2).indices.tolist()
    [[2, 1]]
    >>> rank(gallery, k=1).indices.tolist()
    [[1], [2], [1]]
    """
    queries, items = as_sets(query, gallery, binary)
    k = as_count(k, "k")
    if exclude_self is None:
        exclude_self = gallery is None
    # no gallery item has the label of a query: all there is to say is which one is the query itself
    candidates = Candidates(
        np.zeros(len(queries), dtype=np.int64),
        np.ones(len(items), dtype=np.int64),
        None,
        same_image_ids(exclude_self, len(queries), len(items)),
    )
    source, kind = similarities_and_ranker(queries, items, accelerator_of(query, gallery), memory_budget)
    top = TopK.empty(len(queries), min(k, len(items)), source.dtype)
    ranker = kind(candidates, len(queries), source.dtype, top)
    rows = block_rows(len(items), source.dtype.itemsize, memory_budget - source.memory)
    for part in parts_of(len(queries), rows):
        ranker.rank(source.of(part), part)
    return top


def recall_at_k(
    query: Any, query_labels: Any, gallery: Any = None, gallery_labels: Any = None, k: int = 1, **options: Any
) -> float:
    """Share of queries with a positive among the first k: mean of [r_1 ≤ k], or CMC at rank k.

    The recall of metric learning. Without a gallery each query is searched for among the others. `options`
    are those of `evaluate_retrieval`, here as in all functions below.

    >>> import numpy as np
    >>> features = np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.6, 0.8]])
    >>> recall_at_k(features, ["cat", "cat", "dog", "dog"])
    0.5
    """
    return _figure(f"recall@{k}", query, query_labels, gallery, gallery_labels, options)


def true_recall_at_k(
    query: Any, query_labels: Any, gallery: Any = None, gallery_labels: Any = None, k: int = 1, **options: Any
) -> float:
    """Share of its positives that a query finds among the first k: mean of |{i: r_i ≤ k}| / P.

    >>> import numpy as np
    >>> query, gallery = np.array([[1.0]]), np.array([[0.9], [0.8], [0.7], [0.6]])
    >>> true_recall_at_k(query, ["cat"], gallery, ["cat", "dog", "cat", "cat"], k=3)
    0.6666666666666666
    """
    return _figure(f"true_recall@{k}", query, query_labels, gallery, gallery_labels, options)


def precision_at_k(
    query: Any, query_labels: Any, gallery: Any = None, gallery_labels: Any = None, k: int = 1, **options: Any
) -> float:
    """Share of the first k that is right: mean of |{i: r_i ≤ k}| / k, also where fewer than k are ranked.

    >>> import numpy as np
    >>> query, gallery = np.array([[1.0]]), np.array([[0.9], [0.8], [0.7], [0.6]])
    >>> precision_at_k(query, ["cat"], gallery, ["cat", "dog", "cat", "cat"], k=2)
    0.5
    """
    return _figure(f"precision@{k}", query, query_labels, gallery, gallery_labels, options)


def mean_average_precision(
    query: Any,
    query_labels: Any,
    gallery: Any = None,
    gallery_labels: Any = None,
    k: int | None = None,
    **options: Any,
) -> float:
    """Mean of AP = 1/P · Σ_i i / r_i; with k of AP@k = 1/min(P, k) · Σ_{i: r_i ≤ k} i / r_i.

    >>> import numpy as np
    >>> query, gallery = np.array([[1.0]]), np.array([[0.9], [0.8], [0.7], [0.6]])
    >>> mean_average_precision(query, ["cat"], gallery, ["cat", "dog", "dog", "cat"])
    0.75
    >>> mean_average_precision(query, ["cat"], gallery, ["cat", "dog", "dog", "cat"], k=2)
    0.5
    """
    return _figure("mAP" if k is None else f"mAP@{k}", query, query_labels, gallery, gallery_labels, options)


def mean_average_precision_at_r(
    query: Any, query_labels: Any, gallery: Any = None, gallery_labels: Any = None, **options: Any
) -> float:
    """Mean of AP@R = 1/P · Σ_{i: r_i ≤ P} i / r_i: only the first P places count.

    >>> import numpy as np
    >>> query, gallery = np.array([[1.0]]), np.array([[0.9], [0.8], [0.7], [0.6]])
    >>> mean_average_precision_at_r(query, ["cat"], gallery, ["dog", "cat", "dog", "cat"])
    0.25
    """
    return _figure("mAP@R", query, query_labels, gallery, gallery_labels, options)


def r_precision(
    query: Any, query_labels: Any, gallery: Any = None, gallery_labels: Any = None, **options: Any
) -> float:
    """Mean of |{i: r_i ≤ P}| / P: precision at the place where it could be perfect.

    >>> import numpy as np
    >>> query, gallery = np.array([[1.0]]), np.array([[0.9], [0.8], [0.7], [0.6]])
    >>> r_precision(query, ["cat"], gallery, ["dog", "cat", "dog", "cat"])
    0.5
    """
    return _figure("R-precision", query, query_labels, gallery, gallery_labels, options)


def mean_inverse_negative_penalty(
    query: Any, query_labels: Any, gallery: Any = None, gallery_labels: Any = None, **options: Any
) -> float:
    """Mean of INP = P / r_P: how little is looked through until the last positive is found (mINP).

    >>> import numpy as np
    >>> query, gallery = np.array([[1.0]]), np.array([[0.9], [0.8], [0.7], [0.6]])
    >>> mean_inverse_negative_penalty(query, ["cat"], gallery, ["cat", "dog", "dog", "cat"])
    0.5
    """
    return _figure("mINP", query, query_labels, gallery, gallery_labels, options)


def mean_reciprocal_rank(
    query: Any, query_labels: Any, gallery: Any = None, gallery_labels: Any = None, **options: Any
) -> float:
    """Mean of 1 / r_1 (MRR).

    >>> import numpy as np
    >>> query, gallery = np.array([[1.0]]), np.array([[0.9], [0.8], [0.7], [0.6]])
    >>> mean_reciprocal_rank(query, ["cat"], gallery, ["dog", "cat", "dog", "cat"])
    0.5
    """
    return _figure("MRR", query, query_labels, gallery, gallery_labels, options)


def normalized_discounted_gain(
    query: Any,
    query_labels: Any,
    gallery: Any = None,
    gallery_labels: Any = None,
    k: int = 10,
    **options: Any,
) -> float:
    """nDCG@k: mean of Σ_{i: r_i ≤ k} 1/log2(1 + r_i) / Σ_{i=1..min(P, k)} 1/log2(1 + i).

    >>> import numpy as np
    >>> query, gallery = np.array([[1.0]]), np.array([[0.9], [0.8], [0.7], [0.6]])
    >>> normalized_discounted_gain(query, ["cat"], gallery, ["dog", "dog", "cat", "dog"], k=3)
    0.5
    """
    return _figure(f"nDCG@{k}", query, query_labels, gallery, gallery_labels, options)


def _figure(
    name: str, query: Any, query_labels: Any, gallery: Any, gallery_labels: Any, options: dict[str, Any]
) -> float:
    if (gallery is None) != (gallery_labels is None):
        raise ValueError("gallery and gallery_labels must both be given, or neither")
    if gallery is None:
        gallery, gallery_labels = query, query_labels
        options = {"exclude_self": True, "gallery_cameras": options.get("query_cameras"), **options}
        if options["exclude_self"] is False:
            raise ValueError(
                "without a gallery the queries are searched for among themselves, where an image is never "
                "its own match: exclude_self cannot be False"
            )
    return evaluate_retrieval(query, query_labels, gallery, gallery_labels, metrics=[name], **options)[name]
