"""Which gallery items are right for a query, and which are taken out of its ranking."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lookalike.retrieval.blocks import IntArray, as_labels, joint_codes

NOTHING: IntArray = np.empty(0, dtype=np.int64)


class Candidates:
    """For each query: which gallery items are its positives, and which are taken out of the ranking.

    A positive has the label of the query. Junk (same label and same camera) and the image itself are taken
    out. Distractors stay in the ranking and are never positives, whatever label they have.
    """

    def __init__(
        self,
        query_labels: npt.NDArray[Any],
        gallery_labels: npt.NDArray[Any],
        cameras: tuple[npt.NDArray[Any], npt.NDArray[Any]] | None,
        same_image: tuple[npt.NDArray[Any], npt.NDArray[Any]] | None,
        distractors: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        codes = joint_codes(query_labels, gallery_labels, "labels")
        self.one_class = max(each.max() for each in codes) == 0
        self._labels = _Groups(*codes)
        self._cameras = joint_codes(*cameras, "cameras") if cameras else None
        self._images = _Groups(*joint_codes(*same_image, "image ids")) if same_image else None
        self._distractors = distractors
        # before junk and the image itself are taken out
        self.positives_expected, self.positives_most = self._labels.mean, self._labels.most

    def of(self, query: int) -> tuple[IntArray, IntArray]:
        """Gallery positions of the positives and of the items to take out."""
        positives, removed = self._labels.of(query), NOTHING
        if self._distractors is not None:
            positives = positives[~self._distractors[positives]]
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


class _Groups:
    """Gallery positions with the code of a query, without a matrix of queries by gallery."""

    def __init__(self, query: IntArray, gallery: IntArray) -> None:
        self._order = np.argsort(gallery, kind="stable").astype(np.int64)
        ordered = gallery[self._order]
        self._from = np.searchsorted(ordered, query, side="left")
        self._to = np.searchsorted(ordered, query, side="right")

    @property
    def mean(self) -> float:
        """How many there are for a query, on average."""
        return float((self._to - self._from).mean())

    @property
    def most(self) -> int:
        """How many there are for a query, at most."""
        return int((self._to - self._from).max())

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
