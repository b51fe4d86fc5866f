"""The rank of every positive, found by counting what stands before it; no row of similarities is sorted.

Tie rule: a gallery item that is not a positive and has the same similarity as a positive stands BEFORE it.
    So a tie never helps: figures depend neither on the order of the files nor on the sort of a library, and
    a model that maps everything to one point gets the worst figures, not chance ones. Positives of equal
    similarity take successive ranks among each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lookalike.retrieval.blocks import FloatArray, IntArray, as_labels, joint_codes

# Up to so many positives, one comparison of the row for each is faster than sorting the rivals once.
_FEW = 16


@dataclass(frozen=True)
class Ranking:
    """Ranks of the positives of Q queries that have at least one.

    ranks: (P,) one-based ranks of all positives of the first query, then of the second, …, ascending within
        a query.
    starts: (Q + 1,) where the ranks of each query start; the last entry is P.
    """

    ranks: IntArray
    starts: IntArray

    @property
    def positives(self) -> IntArray:
        """How many positives each query has: (Q,)."""
        return np.diff(self.starts)

    @property
    def first(self) -> IntArray:
        """Rank of the best-placed positive of each query: (Q,)."""
        return self.ranks[self.starts[:-1]]

    @property
    def last(self) -> IntArray:
        """Rank of the worst-placed positive of each query: (Q,)."""
        return self.ranks[self.starts[1:] - 1]

    @property
    def hit_number(self) -> IntArray:
        """For each entry of `ranks`, the how-manieth hit of its query it is: 1, 2, …"""
        return np.arange(1, len(self.ranks) + 1, dtype=np.int64) - np.repeat(self.starts[:-1], self.positives)

    def sum_by_query(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Sums of values given for each positive, (P,) -> (Q,)."""
        return np.add.reduceat(values, self.starts[:-1])


@dataclass(frozen=True)
class TopK:
    """The best gallery items of each query, best first: positions (Q, k) and similarities (Q, k).

    Items of equal similarity are listed in the order of the gallery. Where fewer than k items are left
    after junk and the image itself are removed, the position is -1 and the similarity -inf.
    """

    indices: IntArray
    similarities: FloatArray

    @classmethod
    def empty(cls, queries: int, k: int, dtype: npt.DTypeLike) -> TopK:
        """Room for the answers of so many queries."""
        return cls(np.full((queries, k), -1, dtype=np.int64), np.full((queries, k), -np.inf, dtype=dtype))


class Candidates:
    """For each query: which gallery items are its positives, and which are taken out of the ranking.

    A positive has the label of the query. Junk (same label and same camera) and the image itself are taken
    out.
    """

    def __init__(
        self,
        query_labels: npt.NDArray[Any],
        gallery_labels: npt.NDArray[Any],
        cameras: tuple[npt.NDArray[Any], npt.NDArray[Any]] | None,
        same_image: tuple[npt.NDArray[Any], npt.NDArray[Any]] | None,
    ) -> None:
        self._labels = _Groups(*joint_codes(query_labels, gallery_labels, "labels"))
        self._cameras = joint_codes(*cameras, "cameras") if cameras else None
        self._images = _Groups(*joint_codes(*same_image, "image ids")) if same_image else None

    def of(self, query: int) -> tuple[IntArray, IntArray]:
        """Gallery positions of the positives and of the items to take out."""
        positives, removed = self._labels.of(query), _NONE
        if self._cameras is not None:
            query_cameras, gallery_cameras = self._cameras
            junk = gallery_cameras[positives] == query_cameras[query]
            positives, removed = positives[~junk], positives[junk]
        if self._images is not None:
            itself = self._images.of(query)
            if itself.size == 1:
                positives = positives[positives != itself[0]]
            elif itself.size:
                positives = positives[~np.isin(positives, itself)]
            removed = np.union1d(removed, itself) if removed.size else itself
        return positives, removed


_NONE = np.empty(0, dtype=np.int64)


class _Groups:
    """Gallery positions with the code of a query, without a matrix of queries by gallery."""

    def __init__(self, query: IntArray, gallery: IntArray) -> None:
        self._order = np.argsort(gallery, kind="stable").astype(np.int64)
        ordered = gallery[self._order]
        self._from = np.searchsorted(ordered, query, side="left")
        self._to = np.searchsorted(ordered, query, side="right")

    def of(self, query: int) -> IntArray:
        return self._order[self._from[query] : self._to[query]]


def same_image_ids(
    exclude_self: Any, queries: int, gallery: int
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]] | None:
    """What `exclude_self` says, as ids of query and gallery images.

    Equal ids are the same image. None where nothing is excluded.
    """
    if isinstance(exclude_self, (bool, np.bool_)):
        if not exclude_self:
            return None
        if queries != gallery:
            raise ValueError(
                f"exclude_self=True means that query i is gallery item i, but there are {queries} queries "
                f"and {gallery} gallery items: give the gallery position of each query, or image ids of both"
            )
        return np.arange(queries), np.arange(gallery)
    if isinstance(exclude_self, tuple):
        if len(exclude_self) != 2:
            raise ValueError(
                "exclude_self as a tuple must hold the image ids of the queries and those of the gallery"
            )
        return (
            as_labels(exclude_self[0], "query image ids", queries),
            as_labels(exclude_self[1], "gallery image ids", gallery),
        )
    positions = as_labels(exclude_self, "exclude_self", queries)
    if positions.dtype.kind not in "iu" or positions.min() < -1 or positions.max() >= gallery:
        raise ValueError(
            f"exclude_self must hold gallery positions from 0 to {gallery - 1}, or -1 for a query that is "
            "not in the gallery"
        )
    return positions.astype(np.int64), np.arange(gallery, dtype=np.int64)


def positive_ranks(row: FloatArray, positives: IntArray, removed: IntArray) -> IntArray:
    """One-based ranks of the positives of one query, ascending. `row`, its similarities (G,), is overwritten.

    rank of the i-th best positive = i + number of other ranked items whose similarity is at least as high.
    """
    similarities = np.sort(row[positives])[::-1]
    row[positives] = -np.inf
    row[removed] = -np.inf
    if len(positives) <= _FEW:
        ahead = np.fromiter(
            (np.count_nonzero(row >= value) for value in similarities), np.int64, len(positives)
        )
    else:
        rivals = np.sort(row[row >= similarities[-1]])
        ahead = rivals.size - np.searchsorted(rivals, similarities, side="left")
    return ahead + np.arange(1, len(positives) + 1)


def best(row: FloatArray, removed: IntArray, k: int) -> tuple[IntArray, FloatArray]:
    """Positions and similarities of the k best items of a row.

    See TopK. The removed items of `row` are overwritten.
    """
    row[removed] = -np.inf
    threshold = np.partition(row, row.size - k)[row.size - k]
    above = np.flatnonzero(row > threshold)
    level = np.flatnonzero(row == threshold)[: k - above.size]
    indices = np.concatenate([above, level])
    indices = indices[np.lexsort((indices, -row[indices]))]
    similarities = row[indices]
    return np.where(np.isneginf(similarities), -1, indices).astype(np.int64), similarities


def rank_block(
    block: FloatArray, part: slice, candidates: Candidates, top: TopK | None = None
) -> tuple[IntArray, Ranking]:
    """Rank the positives of a block of queries: which queries have any, (Q',), and their ranking.

    `block` (queries of the part, G) is overwritten; the rows of the part in `top` are filled.
    """
    members: list[int] = []
    ranks: list[IntArray] = []
    for query, row in zip(range(part.start, part.stop), block, strict=True):
        positives, removed = candidates.of(query)
        if top is not None:
            top.indices[query], top.similarities[query] = best(row, removed, top.indices.shape[1])
        if positives.size:
            members.append(query)
            ranks.append(positive_ranks(row, positives, removed))
    starts = np.cumsum([0, *map(len, ranks)], dtype=np.int64)
    return np.asarray(members, dtype=np.int64), Ranking(np.concatenate(ranks) if ranks else _NONE, starts)
