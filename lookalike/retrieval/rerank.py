"""k-reciprocal re-ranking: neighbours that agree on their neighbours are moved to the front.

Zhong, Zheng, Cao, Li: Re-ranking Person Re-identification with k-reciprocal Encoding, CVPR 2017.

The items are the queries and the gallery together, N(i, k) the k items nearest to i and i itself.
    R(i, k) = {j in N(i, k): i in N(j, k)} are its k-reciprocal neighbours. R*(i) is R(i, k1) and with it
        R(j, k1 / 2) of each j in R(i, k1) that has more than two thirds of its own in R(i, k1).
    V_ij = exp(-d_ij) for j in R*(i), 0 elsewhere, scaled to sum 1; d_ij is the squared Euclidean distance
        (2 - 2 cos for features of length 1) over the largest one of item i.
    V_i is then replaced by the mean of V_j over the k2 items j nearest to i (itself included).
    Jaccard distance of i and j: 1 - Σ min(V_il, V_jl) / Σ max(V_il, V_jl) = 1 - m / (2 - m) with
        m = Σ_l min(V_il, V_jl).
    The distance that ranks is (1 - lamb) · Jaccard + lamb · d.

The reference computes the same with matrices (Q + G)², V in float16, in loops over items.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lookalike.retrieval.blocks import FloatArray, IntArray, as_sets, longest, parts_of
from lookalike.retrieval.neighbours import Int32Array, SquaredDistances, nearest_neighbours
from lookalike.retrieval.sparse_rows import SparseRows

_COMPARISONS = 2**24
"""Comparisons of neighbours that are laid out at once."""

_LONGER_THAN_ONE = 1.01
"""Half precision leaves a length within 0.001 of 1."""


def rerank_distances(
    query: Any,
    gallery: Any,
    feature_normed: bool = True,
    k1: int = 20,
    k2: int = 6,
    lamb: float = 0.5,
    *,
    reference_behaviour: bool = False,
    memory_budget: int = 512 * 2**20,
) -> FloatArray:
    """Re-ranked distances of all queries and gallery items at once: (Q, D), (G, D) -> (Q, G).

    For sets whose (Q, G) matrix fits into memory; `RerankedSimilarities`, which has the same arguments, gives
    it block by block.

    >>> import numpy as np
    >>> angles = np.array([0.0, 0.1, 0.2, 1.5, 1.6])
    >>> features = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    >>> rerank_distances(features[:1], features[1:], k1=2, k2=1, lamb=0).round(1).tolist()
    [[0.0, 0.0, 1.0, 1.0]]
    """
    source = RerankedSimilarities(
        query,
        gallery,
        feature_normed,
        k1,
        k2,
        lamb,
        reference_behaviour=reference_behaviour,
        memory_budget=memory_budget,
    )
    distances = source.of(slice(0, source.queries))
    return np.negative(distances, out=distances)


class RerankedSimilarities:
    """Minus the re-ranked distance, for `evaluate_retrieval(similarities=…)`.

    query (Q, D), gallery (G, D): features as `evaluate_retrieval` takes them. Where both are the same object,
        or gallery is None, the items are that one set, not two copies of it.
    feature_normed: the features have length 1; d is then 2 - 2 cos, and squared Euclidean otherwise. For
        binary codes, given as numbers, that is the Hamming distance but for a factor, which falls out.
    k1, k2, lamb: see the module; 20, 6 and 0.3 are what people are re-identified with.
    reference_behaviour: V and the Jaccard distance are summed in float16, one set is taken twice, and d of
        features that are not of length 1 is what the reference takes for it: see `SquaredDistances`.

    Making one takes a pass over all (Q + G)² products; what it keeps is O((Q + G) · k), beside the features
        and, where query and gallery differ, a joint copy of them. An item is always the first of its own
        neighbours; equally near ones stand in the order queries, gallery.

    Raises ValueError for features that are not as said and for k1, k2 or lamb out of range.

    >>> import numpy as np
    >>> from lookalike.retrieval import evaluate_retrieval
    >>> features, labels = np.eye(4)[[0, 0, 1, 1, 2]], [0, 0, 1, 1, 2]
    >>> reranked = RerankedSimilarities(features, features, k1=2, k2=1)
    >>> evaluate_retrieval(
    ...     features, labels, features, labels, exclude_self=True, similarities=reranked
    ... )["mAP"]
    1.0
    """

    def __init__(
        self,
        query: Any,
        gallery: Any = None,
        feature_normed: bool = True,
        k1: int = 20,
        k2: int = 6,
        lamb: float = 0.3,
        *,
        reference_behaviour: bool = False,
        memory_budget: int = 512 * 2**20,
    ) -> None:
        for name, value in (("k1", k1), ("k2", k2)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if not 0 <= lamb <= 1:
            raise ValueError(f"lamb must be between 0 and 1, got {lamb}")
        queries, others = as_sets(query, gallery)
        unknown = feature_normed and not reference_behaviour  # the reference takes our word
        if unknown and max(longest(queries), longest(others)) > _LONGER_THAN_ONE:
            raise ValueError(
                "the features are longer than 1: normalise them first, or say feature_normed=False"
            )
        one_set = others is queries and not reference_behaviour
        items = queries if one_set else np.concatenate([queries, others])
        self.queries, self.gallery = len(queries), len(others)
        self._lamb, self._half = lamb, reference_behaviour

        def between(rows: npt.NDArray[Any], columns: npt.NDArray[Any]) -> SquaredDistances:
            return SquaredDistances(rows, columns, feature_normed, memory_budget, reference_behaviour)

        distances = between(items, items)
        neighbours, scale = nearest_neighbours(distances, len(items), max(k1 + 1, k2), memory_budget)
        # of items that are all alike nothing is far away, and any scale does
        self._scale: FloatArray = np.where(scale > 0, scale, 1).astype(distances.dtype)
        encoding = self._rounded(_encode(distances, neighbours, k1, self._scale))
        if k2 > 1:
            encoding = self._rounded(encoding.means(neighbours[:, :k2]))
        self._encoding = encoding
        self._inverted = encoding.transposed(0 if one_set else len(queries))
        if not one_set:
            distances = between(items[: len(queries)], items[len(queries) :])
        self._distances = distances
        self.dtype = distances.dtype
        self.memory = distances.memory + self._encoding.memory + self._inverted.memory

    def of(self, part: slice) -> FloatArray:
        """Minus the distances (queries of the part, G) to the whole gallery, until the next call."""
        # the reference keeps (1 - lamb) · Jaccard in float16
        rest = self.dtype.type(np.float16(1 - self._lamb) if self._half else 1 - self._lamb)
        if self._lamb:
            # -lamb · d / scale = (slope · closeness - row term) · lamb / scale
            block = self._distances.closeness(part)
            factors = self.dtype.type(self._lamb) / self._scale[part]
            block *= self._distances.slope * factors[:, None]
            block -= (factors * self._distances.row_terms[part] + rest)[:, None]
        else:
            block = np.full((part.stop - part.start, self.gallery), -rest, self.dtype)

        def add(rows: slice, places: IntArray, shared: FloatArray) -> None:
            if self._half:  # in the steps of the reference, each of which rounds
                gain = rest - np.float16(rest) * (1 - shared / (2 - shared))
            else:
                gain = rest * (shared / (2 - shared))
            block[rows].reshape(-1)[places] += gain.astype(self.dtype)

        self._encoding.overlaps(part, self._inverted, self.gallery, add, self._half)
        return block

    def _rounded(self, rows: SparseRows) -> SparseRows:
        """As the reference stores them, where its behaviour is wanted."""
        if not self._half:
            return rows
        return SparseRows(rows.starts, rows.columns, rows.values.astype(np.float16).astype(rows.values.dtype))


def _encode(
    distances: SquaredDistances, neighbours: Int32Array, k1: int, scale: npt.NDArray[Any]
) -> SparseRows:
    """V before it is averaged: row i has exp(-d_ij) for j in R*(i), scaled to sum 1."""
    nearest = neighbours[:, : k1 + 1]
    close = neighbours[:, : round(k1 / 2) + 1]
    mutual, closely_mutual = _reciprocal(nearest), _reciprocal(close)
    count = len(neighbours)

    def piece(part: slice) -> tuple[npt.NDArray[Any], Int32Array, FloatArray]:
        columns, lengths = _expanded(nearest, mutual, close, closely_mutual, part)
        rows = np.repeat(np.arange(part.start, part.stop), lengths)
        weights = np.exp(-distances.of_pairs(rows, columns) / scale[rows])
        # in float64; with the reference's swapped factors an item may have no reciprocal neighbour at all
        sums = np.bincount(rows - part.start, weights, minlength=len(lengths))
        return lengths, columns, weights / np.repeat(sums, lengths).astype(weights.dtype)

    compared = nearest.shape[1] ** 2 * close.shape[1]
    return SparseRows.joined(map(piece, parts_of(count, max(1, _COMPARISONS // compared))))


def _reciprocal(neighbours: Int32Array) -> npt.NDArray[np.bool_]:
    """Whether each neighbour of an item has the item among its own neighbours: (N, k)."""
    mutual = np.empty(neighbours.shape, dtype=bool)
    for part in parts_of(len(neighbours), max(1, _COMPARISONS // neighbours.shape[1] ** 2)):
        itself = np.arange(part.start, part.stop, dtype=np.int32)[:, None, None]
        mutual[part] = (neighbours[neighbours[part]] == itself).any(axis=2)
    return mutual


def _expanded(
    nearest: Int32Array,
    mutual: npt.NDArray[np.bool_],
    close: Int32Array,
    closely_mutual: npt.NDArray[np.bool_],
    part: slice,
) -> tuple[Int32Array, npt.NDArray[Any]]:
    """R* of some items: their members one item after the other, ascending, and how many each has.

    nearest, mutual: (N, k) the neighbours and which of them are in R(i, k1); close, closely_mutual: (N, h)
        the same for R(i, k1 / 2).
    """
    nobody = np.int32(len(nearest))
    own = np.where(mutual[part], nearest[part], nobody)
    theirs, belongs = close[nearest[part]], closely_mutual[nearest[part]]  # (B, k, h)
    shared = belongs & (theirs[..., None] == own[:, None, None, :]).any(axis=3)
    accepted = mutual[part] & (3 * shared.sum(axis=2) > 2 * belongs.sum(axis=2))
    added = np.where(belongs & accepted[..., None], theirs, nobody)
    members = np.sort(np.concatenate([own, added.reshape(len(own), -1)], axis=1), axis=1)
    kept = members < nobody
    kept[:, 1:] &= members[:, 1:] != members[:, :-1]
    return members[kept], kept.sum(axis=1)
