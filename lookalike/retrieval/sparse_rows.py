"""A sparse matrix of non-negative numbers by rows, and what re-ranking does with it; NumPy only."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lookalike.retrieval.blocks import FloatArray, IntArray, parts_of

Int32Array = npt.NDArray[np.int32]

ENTRIES_AT_A_TIME = 2**21
"""Entries that are laid out at once: about 100 MB with their positions."""


@dataclass(frozen=True)
class SparseRows:
    """The entries of row i are starts[i] … starts[i + 1], by ascending column.

    starts: (N + 1,). columns, values: (entries,).
    """

    starts: IntArray
    columns: Int32Array
    values: FloatArray

    @classmethod
    def joined(cls, pieces: Iterable[tuple[npt.NDArray[Any], Int32Array, FloatArray]]) -> SparseRows:
        """Of pieces of successive rows: (entries in each row, columns, values)."""
        lengths, columns, values = (list(each) for each in zip(*pieces, strict=True))
        starts = np.concatenate([[0], np.cumsum(np.concatenate(lengths), dtype=np.int64)])
        return cls(starts, np.concatenate(columns), np.concatenate(values))

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> IntArray:
        """How many entries each row has."""
        return np.diff(self.starts)

    @property
    def memory(self) -> int:
        """Bytes that the entries take."""
        return self.starts.nbytes + self.columns.nbytes + self.values.nbytes

    def at(self, rows: npt.NDArray[Any]) -> IntArray:
        """Where the entries of the given rows are, one row after the other."""
        lengths = self.starts[rows + 1] - self.starts[rows]
        ends = np.cumsum(lengths)
        total = int(ends[-1]) if len(ends) else 0
        return np.repeat(self.starts[rows] - (ends - lengths), lengths) + np.arange(total)

    def means(self, groups: npt.NDArray[Any]) -> SparseRows:
        """Row i is the mean of the rows groups[i]: (N, k) -> N rows."""
        width, members = len(self), groups.shape[1]
        at_a_time = _rows_within(self.lengths[groups].sum(axis=1))

        def piece(part: slice) -> tuple[IntArray, Int32Array, FloatArray]:
            chosen = groups[part]
            where = self.at(chosen.reshape(-1))
            lengths = self.lengths[chosen].sum(axis=1)
            keys = np.repeat(np.arange(len(chosen)), lengths) * width + self.columns[where]
            order = np.argsort(keys, kind="stable")
            keys = keys[order]
            first = np.flatnonzero(np.diff(keys, prepend=-1))
            values = np.add.reduceat(self.values[where[order]], first) / members
            rows, columns = np.divmod(keys[first], width)
            return (
                np.bincount(rows, minlength=len(chosen)),
                columns.astype(np.int32),
                values.astype(self.values.dtype),
            )

        return SparseRows.joined(map(piece, at_a_time))

    def transposed(self, first_row: int) -> SparseRows:
        """Rows are the columns of the rows from `first_row` on, which are counted from 0."""
        entries = slice(int(self.starts[first_row]), None)
        columns, lengths = self.columns[entries], self.lengths[first_row:]
        order = np.argsort(columns, kind="stable")
        rows = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)[order]
        starts = np.concatenate([[0], np.cumsum(np.bincount(columns, minlength=len(self)), dtype=np.int64)])
        return SparseRows(starts, rows, self.values[entries][order])

    def overlaps(
        self,
        part: slice,
        inverted: SparseRows,
        width: int,
        found: Callable[[slice, IntArray, FloatArray], None],
        half: bool = False,
    ) -> None:
        """Tell Σ_j min(a_j, b_j) of rows a of this matrix and rows b of another where it is not 0.

        part: the rows a. inverted: `transposed` of the other matrix, which has `width` rows.
        found: called with some successive rows (as a slice, counted from the start of the part), with
            positions in a block (those rows, width) laid out flat, and with the sums there.
        half: add in float16, one j after the other; in float64 otherwise.
        """
        numbers = np.arange(part.start, part.stop)
        # every entry of a meets all entries that its column has in the other matrix
        first, last = self.starts[part.start], self.starts[part.stop]
        met = np.bincount(
            np.repeat(numbers - part.start, self.lengths[part]),
            inverted.lengths[self.columns[first:last]],
            minlength=len(numbers),
        )
        for some in _rows_within(met + width):
            entries = self.at(numbers[some])
            columns = self.columns[entries]
            where = inverted.at(columns)
            lengths = inverted.lengths[columns]
            bases = np.repeat(np.arange(some.stop - some.start) * width, self.lengths[numbers[some]])
            flat = np.repeat(bases, lengths) + inverted.columns[where]
            smaller = np.minimum(np.repeat(self.values[entries], lengths), inverted.values[where])
            sums: FloatArray
            if half:
                sums = np.zeros((some.stop - some.start) * width, np.float16)
                np.add.at(sums, flat, smaller.astype(np.float16))
            else:
                sums = np.bincount(flat, smaller).astype(np.float64, copy=False)  # which it is
            places = np.flatnonzero(sums)
            found(some, places, sums[places])


def _rows_within(entries: npt.NDArray[Any]) -> list[slice]:
    """Slices of rows that have so many entries each, together no more than are laid out at once."""
    if not len(entries):
        return []
    at_a_time = max(1, int(ENTRIES_AT_A_TIME // max(1.0, float(entries.mean()))))
    return parts_of(len(entries), at_a_time)
