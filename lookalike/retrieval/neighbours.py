"""Squared distances between all items of one set, block by block, and the nearest neighbours of each."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lookalike.retrieval.blocks import FloatArray, Similarities, block_rows, parts_of, squared_lengths
from lookalike.retrieval.ranking import best

Int32Array = npt.NDArray[np.int32]

_CACHED = 2**20
"""Bytes of features that are gathered at a time."""


class SquaredDistances:
    """d(i, j) = |x_i|² + |y_j|² - 2 x_i·y_j of rows (N, D) and columns (M, D), of some rows at a time.

    unit_length: the features have length 1, so that d = 2 - 2 x_i·y_j and a pass over each block is saved.
    reference_behaviour: for other lengths the reference swaps two factors: its d is
        2 |x_i|² + 2 |y_j|² - x_i·y_j, by which features of small length are near to all others, not least
        nearer than an item is to itself.
    Equal columns have equal distances, as in `Similarities`. For codes of -1 and 1 d is four times the
        Hamming distance.
    """

    def __init__(
        self,
        rows: npt.NDArray[Any],
        columns: npt.NDArray[Any],
        unit_length: bool = False,
        memory_budget: int = 512 * 2**20,
        reference_behaviour: bool = False,
    ) -> None:
        self._rows, self._columns = rows, columns
        self._products = Similarities(rows, columns, memory_budget)
        self.memory = self._products.memory
        self.dtype = self._products.dtype
        self.swapped = reference_behaviour and not unit_length
        # d = row_terms_i - slope · closeness_ij, with closeness_ij = x_i·y_j - column_terms_j
        self.slope = 1 if self.swapped else 2
        if unit_length:
            self.row_terms: FloatArray = np.full(len(rows), 2, self.dtype)
            self._column_terms = None
        else:
            weight = self.dtype.type(2 if self.swapped else 1)
            self.row_terms = weight * squared_lengths(rows, self.dtype)
            theirs = self.row_terms if rows is columns else weight * squared_lengths(columns, self.dtype)
            self._column_terms = theirs / self.dtype.type(self.slope)

    def closeness(self, part: slice) -> FloatArray:
        """What d falls with, (row_terms - d) / slope: (rows of the part, M), until the next call."""
        block = self._products.of(part)
        if self._column_terms is not None:
            block -= self._column_terms
        return block

    def of_pairs(self, rows: npt.NDArray[Any], columns: npt.NDArray[Any]) -> FloatArray:
        """d of single pairs: (P,), (P,) -> (P,)."""
        distances: FloatArray = np.empty(len(rows), self.dtype)
        # a chunk that stays in the cache between being gathered and being multiplied
        for part in parts_of(len(rows), max(1, _CACHED // max(1, self._rows[0].nbytes))):
            ours = self._rows[rows[part]].astype(self.dtype, copy=False)
            theirs = self._columns[columns[part]].astype(self.dtype, copy=False)
            closeness = np.einsum("pd,pd->p", ours, theirs)
            if self._column_terms is not None:
                closeness -= self._column_terms[columns[part]]
            distances[part] = self.row_terms[rows[part]] - self.slope * closeness
        return distances


class Neighbours(NamedTuple):
    """indices: (N, k) nearest items of each item, itself first, equally near ones by position; int32.

    scale: (N,) squared distance of each item to the one that is farthest from it. (Where the reference swaps
        factors its distances are negative and it divides by the nearest one; and no item need be the nearest
        of itself.)
    """

    indices: Int32Array
    scale: FloatArray


def nearest_neighbours(distances: SquaredDistances, count: int, k: int, memory_budget: int) -> Neighbours:
    """The k nearest of `count` items for each of them, from one pass over the products of all with all.

    k: at most `count` are given.
    """
    k = min(k, count)
    found = Neighbours(np.empty((count, k), np.int32), np.empty(count, distances.dtype))
    rows = block_rows(count, distances.dtype.itemsize, memory_budget - distances.memory)
    for part in parts_of(count, rows):
        closeness = distances.closeness(part)
        extreme = closeness.max(axis=1) if distances.swapped else closeness.min(axis=1)
        found.scale[part] = distances.row_terms[part] - distances.slope * extreme
        for row, number in zip(closeness, range(part.start, part.stop), strict=True):
            if not distances.swapped:
                row[number] = np.inf  # rounding or a copy must not put another item before itself
            found.indices[number] = best(row, k)[0]
    return found
