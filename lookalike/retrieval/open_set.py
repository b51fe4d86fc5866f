"""Recognition in an open set: a picture may show what the gallery does not hold at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lookalike.retrieval.blocks import as_labels
from lookalike.retrieval.evaluate import Result
from lookalike.retrieval.thresholds import Scores


@dataclass(frozen=True)
class OpenSetScores:
    """What Q queries score against a gallery, as known things and as unknown ones.

    labels: (Q,) their classes. best_positive, best_other: (Q,) the highest similarity to an item of the same
        class and to one of another; -inf where there is none. other_labels: (Q,) the class of the latter,
        which means nothing where there is none.

    `best_other` is exactly what a query would score if its class were not in the gallery: so every query of a
        labelled set serves as a picture of something unknown, too.
    """

    labels: npt.NDArray[Any]
    best_positive: Scores
    best_other: Scores
    other_labels: npt.NDArray[Any]

    @classmethod
    def of(cls, result: Result, gallery_labels: Any) -> OpenSetScores:
        """Those of an evaluation, with the labels of its gallery (G,).

        Raises ValueError for one with `reference_behaviour`, which has none.
        """
        if result.best_positive is None or result.best_other is None or result.nearest_other is None:
            raise ValueError("figures of the reference are means of blocks: they have no scores of queries")
        return cls(
            result.query_labels,
            result.best_positive.astype(np.float64),
            result.best_other.astype(np.float64),
            as_labels(gallery_labels, "gallery labels", result.gallery)[result.nearest_other],
        )

    @property
    def tried(self) -> npt.NDArray[np.bool_]:
        """(Q,) which queries have an item of another class to be mistaken for."""
        return np.asarray(~np.isneginf(self.best_other))

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """(Q,) which queries have an item of their class in the gallery."""
        return np.asarray(~np.isneginf(self.best_positive))

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """(Q,) which queries have their nearest item in their own class; equally near is not enough."""
        return self.known & (self.best_positive > self.best_other)
