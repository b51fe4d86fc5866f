"""Vectors of images as a table, as a feature file holds it: one row for each image."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lookalike.core.errors import UserError

COLUMNS = ("vectors", "paths", "labels", "cameras")
UNKNOWN = -1
"""The label, or camera, of an image of which nothing is known."""

_ROWS_AT_A_TIME = 1 << 16


@dataclass(frozen=True, eq=False)
class FeatureTable:
    """Vectors (N, D) of images, and of each its path, label and camera where these are known.

    labels and cameras are int64 or text. bits: the vectors are binary codes of so many bits, packed eight a
    byte (uint8, the first bit is the highest), or with a column for each bit; None for real vectors.
    origin: the file they were read from.
    """

    vectors: npt.NDArray[Any]
    paths: list[str] | None = None
    labels: npt.NDArray[Any] | None = None
    cameras: npt.NDArray[Any] | None = None
    bits: int | None = None
    origin: str = ""

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def is_packed(self) -> bool:
        """Whether a byte of the vectors holds eight bits."""
        return self.bits is not None and self.vectors.shape[1] != self.bits

    def codes(self) -> npt.NDArray[Any]:
        """Binary codes with a column for each bit, (N, bits)."""
        return np.unpackbits(self.vectors, axis=1, count=self.bits) if self.is_packed else self.vectors

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """What a feature file holds: always the same four columns, -1 where a label or camera is unknown."""
        unknown = np.full(len(self), UNKNOWN, dtype=np.int64)
        return {
            "vectors": self.vectors,
            "paths": np.array([""] * len(self) if self.paths is None else self.paths),
            "labels": unknown if self.labels is None else self.labels,
            "cameras": unknown if self.cameras is None else self.cameras,
        }

    @classmethod
    def of_columns(
        cls, columns: Mapping[str, npt.NDArray[Any]], origin: str, bits: int | None = None
    ) -> FeatureTable:
        """A table of the columns of a file: `vectors`, and the others where they are there.

        Raises UserError, with the file, for columns of another length, values of a kind that a column cannot
        have, and vectors that are not finite or, without `bits`, plain bytes.
        """
        vectors = _vectors(columns["vectors"], origin, bits)
        for name in COLUMNS[1:]:
            if name in columns and columns[name].shape != (len(vectors),):
                shape = " x ".join(map(str, columns[name].shape))
                raise UserError(
                    f"{origin}: '{name}' must hold one value for each of the {len(vectors)} vectors, "
                    f"got {shape or 'one value'}"
                )
        paths = _text(columns["paths"], origin) if "paths" in columns else None
        if paths is not None and not all(paths):
            if any(paths):
                raise UserError(f"{origin}: 'paths' is empty in {paths.count('')} rows: fill in all or none")
            paths = None
        return cls(
            vectors,
            paths,
            _values(columns.get("labels"), "labels", origin),
            _values(columns.get("cameras"), "cameras", origin),
            vectors.shape[1] if vectors.dtype == bool and bits is None else bits,
            origin,
        )


def numbers_or_text(labels: Sequence[str]) -> npt.NDArray[Any]:
    """Labels as int64 where all are whole numbers; as text where one is not, or 7 and 007 would be one."""
    distinct = set(labels)
    are_numbers = all(re.fullmatch(r"-?[0-9]{1,18}", label) for label in distinct)
    if are_numbers and len({int(label) for label in distinct}) == len(distinct):
        return np.array([int(label) for label in labels], dtype=np.int64)
    return np.array(labels)


def row_parts(count: int) -> Iterator[slice]:
    """Slices of a table that are small enough to be converted one at a time."""
    for start in range(0, count, _ROWS_AT_A_TIME):
        yield slice(start, min(start + _ROWS_AT_A_TIME, count))


def _vectors(vectors: npt.NDArray[Any], origin: str, bits: int | None) -> npt.NDArray[Any]:
    if vectors.ndim != 2:
        shape = " x ".join(map(str, vectors.shape)) or "one value"
        raise UserError(f"{origin}: 'vectors' must be a table with a row for each picture, got {shape}")
    if not vectors.size:
        raise UserError(f"{origin}: there are no vectors in it ({vectors.shape[0]} x {vectors.shape[1]})")
    if vectors.dtype.kind not in "fiub":
        raise UserError(f"{origin}: 'vectors' must be numbers, got {_kind(vectors)}")
    if vectors.dtype.kind == "f":
        broken = [
            part.start + np.flatnonzero(~np.isfinite(vectors[part]).all(axis=1))
            for part in row_parts(len(vectors))
        ]
        bad = np.concatenate(broken)
        if bad.size:
            raise UserError(
                f"{origin}: {bad.size} of {len(vectors)} vectors hold NaN or infinity, the first is row "
                f"{bad[0]}"
            )
    width = vectors.shape[1]
    if bits is not None:
        packed = vectors.dtype == np.uint8 and width == -(-bits // 8) != bits
        if not packed and width != bits:
            raise UserError(
                f"{origin}: codes of {bits} bits are {-(-bits // 8)} bytes (uint8) or {bits} values each, "
                f"got {width} of {vectors.dtype}"
            )
        if not packed and not _two_values(vectors):
            raise UserError(f"{origin}: codes must hold only 0 and 1, or only -1 and 1")
    elif vectors.dtype == np.uint8:
        raise UserError(
            f"{origin}: 'vectors' are {width} bytes each, which may be codes of {8 * width} bits, packed, or "
            f"of {width} bits, or numbers: say how many bits (--bits {8 * width}), or store numbers as floats"
        )
    return vectors


def _two_values(codes: npt.NDArray[Any]) -> bool:
    positive = codes == 1
    return any(bool(np.all(positive | (codes == other))) for other in (0, -1))


def _text(values: npt.NDArray[Any], origin: str) -> list[str]:
    if values.dtype.kind == "S":
        return [value.decode(errors="surrogateescape") for value in values.tolist()]
    if values.dtype.kind != "U":
        raise UserError(f"{origin}: 'paths' must be text, got {_kind(values)}")
    return [str(value) for value in values]


def _values(values: npt.NDArray[Any] | None, name: str, origin: str) -> npt.NDArray[Any] | None:
    """Labels or cameras as int64 or text; None where none is known."""
    if values is None:
        return None
    if values.dtype.kind == "S":
        return np.array([value.decode(errors="surrogateescape") for value in values.tolist()])
    if values.dtype.kind == "U":
        return values
    if values.dtype.kind == "f" and np.isfinite(values).all() and (values == np.floor(values)).all():
        values = values.astype(np.int64)
    if values.dtype.kind not in "iub":
        raise UserError(f"{origin}: '{name}' must be whole numbers or text, got {_kind(values)}")
    return None if (values == UNKNOWN).all() else values.astype(np.int64)


def _kind(values: npt.NDArray[Any]) -> str:
    names = {"U": "text", "S": "text", "O": "Python objects", "c": "complex numbers", "f": "fractions or NaN"}
    return names.get(values.dtype.kind, str(values.dtype))
