"""Features and labels as arrays, checked, and their similarities a block of queries at a time."""

from __future__ import annotations

import operator
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating[Any]]
IntArray = npt.NDArray[np.int64]

_COMFORTABLE_BLOCK = 128 * 2**20
"""Bytes of similarities from which on a larger block makes the matrix product hardly faster."""

_FEW_ROWS = 64
"""Fewer queries at a time than this make the matrix product slow, however long its rows are."""

_POSITIVE = 64
"""Bytes that a positive takes while its block is scored: its rank twice, and what metrics make of it."""

_CHUNK = 16 * 2**20
"""Bytes of features that are looked at, or converted, at a time."""


def as_array(values: Any) -> npt.NDArray[Any]:
    """A NumPy array of a list, an array or a torch tensor (on any device, with or without gradient)."""
    if hasattr(values, "detach") and hasattr(values, "cpu"):  # a torch tensor; torch itself need not be here
        values = values.detach().cpu()
        if str(values.dtype) == "torch.bfloat16":  # NumPy has no such type
            values = values.float()
        values = values.numpy()
    return np.asarray(values)


def accelerator_of(*values: Any) -> Any:
    """The torch device that one of the values is a tensor on; None where all are the processor's."""
    devices = [each.device for each in values if hasattr(each, "detach") and hasattr(each, "device")]
    return next((device for device in devices if device.type != "cpu"), None)


def as_features(values: Any, name: str) -> FloatArray:
    """Features (N, D) as they are stored: float16, float32 or float64, whole numbers as float32.

    A memory-mapped array stays on the disk and a float16 one is not copied.

    Raises ValueError for another shape and for NaN or infinity.
    """
    array = _as_matrix(values, name)
    if array.dtype not in (np.float16, np.float32, np.float64):
        array = array.astype(np.float32)
    features: FloatArray = array if array.flags.c_contiguous else np.ascontiguousarray(array)
    broken = [
        part.start + np.flatnonzero(~np.isfinite(features[part]).all(axis=1))
        for part in chunks_of(features)
        if not (np.isfinite(features[part].min()) and np.isfinite(features[part].max()))
    ]
    if broken:
        bad = np.concatenate(broken)
        raise ValueError(
            f"{len(bad)} of {len(features)} {name} features have NaN or infinite values, "
            f"the first is item {bad[0]}"
        )
    return features


def _as_matrix(values: Any, name: str) -> npt.NDArray[Any]:
    array = as_array(values)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(
            f"{name} features must be a matrix (items, dimensions) that is not empty, got shape {array.shape}"
        )
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} features must be real numbers, got {array.dtype}")
    return array


def chunks_of(features: npt.NDArray[Any]) -> list[slice]:
    """Slices of a few megabytes that features are gone through by, wherever they lie."""
    return parts_of(len(features), max(1, _CHUNK // max(1, features[0].nbytes)))


def as_codes(values: Any, name: str) -> npt.NDArray[np.int8]:
    """Binary codes (N, bits), written as 0 and 1, as -1 and 1 or as booleans, turned into -1 and 1 (int8).

    The product of two such codes is `bits - 2 * Hamming distance`, a whole number that float32 holds exactly.
    """
    array = _as_matrix(values, name)
    codes = np.empty(array.shape, np.int8)
    negatives = {0, -1}
    for part in chunks_of(array):
        positive = array[part] == 1
        negatives = {each for each in negatives if bool(np.all(positive | (array[part] == each)))}
        codes[part] = np.where(positive, np.int8(1), np.int8(-1))
    if not negatives:
        raise ValueError(f"{name} codes must hold only 0 and 1, or only -1 and 1")
    return codes


def as_sets(query: Any, gallery: Any, binary: bool = False) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Features or codes of both sides, of one width; one object where the gallery is None or the query."""
    prepare = as_codes if binary else as_features
    queries = prepare(query, "query")
    items = queries if gallery is None or gallery is query else prepare(gallery, "gallery")
    if queries.shape[1] != items.shape[1]:
        raise ValueError(
            f"query features have {queries.shape[1]} dimensions and gallery features {items.shape[1]}: "
            "they must come from the same model"
        )
    return queries, items


def as_labels(values: Any, name: str, count: int) -> npt.NDArray[Any]:
    """Labels (or cameras, or image ids) as a vector of the given length; a column (N, 1) is taken as well."""
    array = as_array(values)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1 or len(array) != count:
        raise ValueError(
            f"{name} must be a vector of {count} values, one for each feature, got shape {array.shape}"
        )
    if array.dtype.kind == "O":
        for kind in (str, (int, np.integer)):
            if all(isinstance(value, kind) for value in array.tolist()):
                return np.array(array.tolist())
        raise ValueError(f"{name} must be all numbers or all text")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"{name} hold NaN or infinity")
    return array


def as_count(value: Any, name: str) -> int:
    """A whole number of at least 1."""
    try:
        count = operator.index(value)
    except TypeError:
        raise ValueError(f"{name} must be a whole number, got {value!r}") from None
    if count < 1:
        raise ValueError(f"{name} must be at least 1, got {count}")
    return count


def check_budget(memory_budget: Any) -> None:
    """Raise ValueError for what is no number of bytes, such as a text."""
    if isinstance(memory_budget, bool) or not isinstance(memory_budget, (int, np.integer)):
        raise ValueError(
            f"memory_budget must be a whole number of bytes, such as 512 * 2**20, got {memory_budget!r}"
        )


def joint_codes(query: npt.NDArray[Any], gallery: npt.NDArray[Any], name: str) -> tuple[IntArray, IntArray]:
    """Numbers 0, 1, … in place of the values of two vectors, equal where the values are equal."""
    if (query.dtype.kind in "iufb") != (gallery.dtype.kind in "iufb"):
        raise ValueError(
            f"{name} of query and gallery must be of one type, got {query.dtype} and {gallery.dtype}"
        )
    both = [query, gallery]
    if np.result_type(query, gallery).kind == "f" and "f" not in (query.dtype.kind, gallery.dtype.kind):
        both = [each.astype(object) for each in both]  # uint64 beside int64 would be rounded to float64
    _, codes = np.unique(np.concatenate(both), return_inverse=True)
    codes = codes.reshape(-1).astype(np.int64)
    return codes[: len(query)], codes[len(query) :]


def block_rows(gallery_size: int, itemsize: int, memory_budget: int, positives: int = 0) -> int:
    """How many queries to take at a time, for what a block takes to stay within a budget in bytes.

    That is their similarities, and what is made of the ranks of up to so many `positives` of each.
    """
    row = max(1, gallery_size * itemsize)
    comfortable = max(_FEW_ROWS, _COMFORTABLE_BLOCK // row)
    return max(1, min(comfortable, memory_budget // (row + _POSITIVE * positives)))


def identical_rows(features: npt.NDArray[Any]) -> tuple[IntArray, IntArray]:
    """Rows that repeat an earlier row bit for bit, and that earlier row of each: (copies, originals)."""
    hashes = row_hashes(features)
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    alike = np.zeros(len(order), dtype=bool)
    alike[1:] = ordered[1:] == ordered[:-1]
    copies, originals = [], []
    # rows of one hash, apart by their bits: a hash alone proves nothing
    for start, stop in _runs(alike):
        seen: dict[bytes, int] = {}
        for index in order[start:stop].tolist():
            first = seen.setdefault(features[index].tobytes(), index)
            if first != index:
                copies.append(index)
                originals.append(first)
    return np.asarray(copies, dtype=np.int64), np.asarray(originals, dtype=np.int64)


def _runs(alike: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Ranges of items of which each but the first is marked as like the one before it."""
    inside = np.concatenate([alike, [False]]).astype(np.int8)
    turns = np.diff(inside, prepend=np.int8(0))
    return list(
        zip((np.flatnonzero(turns == 1) - 1).tolist(), np.flatnonzero(turns == -1).tolist(), strict=True)
    )


def row_hashes(features: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """A number for each row that equal rows share: its words times odd numbers, modulo 2^64."""
    words = features.view({1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}[features.itemsize])
    factors = np.random.default_rng(0).integers(1, 2**63, features.shape[1], dtype=np.uint64) * 2 + 1
    hashes = np.empty(len(features), dtype=np.uint64)
    for part in chunks_of(features):
        np.einsum("nd,d->n", words[part], factors, out=hashes[part], dtype=np.uint64, casting="safe")
    return hashes


class Similarities:
    """Similarities (inner products) of some queries at a time with the whole gallery.

    Equal gallery features get equal similarities: a matrix product may round them differently by where they
        stand, which would break ties at random.

    Half-precision features and codes are compared as float32: the gallery is converted once where that fits
        into half of `memory_budget` (bytes), and chunk by chunk for every block of queries otherwise.
    """

    def __init__(
        self, query: npt.NDArray[Any], gallery: npt.NDArray[Any], memory_budget: int = 512 * 2**20
    ) -> None:
        check_budget(memory_budget)
        self.dtype: np.dtype[Any] = np.result_type(query, gallery, np.float32)
        self._query, self._gallery = query, gallery
        self.memory = 0  # bytes that are held beyond the features
        if gallery.dtype != self.dtype and gallery.size * self.dtype.itemsize <= memory_budget // 2:
            self._gallery = gallery.astype(self.dtype)
            self.memory = self._gallery.nbytes
        largest = _largest(query) * _largest(gallery) * query.shape[1]
        if largest > float(np.finfo(self.dtype).max):
            raise ValueError(
                "the features are so large that their similarities overflow: normalise them first"
            )
        self._copies, self._originals = identical_rows(gallery)
        self._room: FloatArray = np.empty((0, len(gallery)), self.dtype)

    def of(self, part: slice) -> FloatArray:
        """Similarities (queries of the part, G). The caller may overwrite them, and the next call does."""
        queries = self._query[part].astype(self.dtype, copy=False)
        if len(queries) > len(self._room):
            # fresh memory for every block would take a sixth of the time of its product
            self._room = np.empty((len(queries), len(self._gallery)), self.dtype)
        block = self._room[: len(queries)]
        whole = [slice(0, len(self._gallery))]
        for columns in whole if self._gallery.dtype == self.dtype else chunks_of(self._gallery):
            items = self._gallery[columns].astype(self.dtype, copy=False)
            np.matmul(queries, items.T, out=block[:, columns])
        if self._copies.size:
            block[:, self._copies] = block[:, self._originals]
        return block


def _largest(features: npt.NDArray[Any]) -> float:
    """The largest absolute value."""
    return max(max(float(features[part].max()), -float(features[part].min())) for part in chunks_of(features))


def squared_lengths(features: npt.NDArray[Any], dtype: npt.DTypeLike = np.float64) -> FloatArray:
    """Squared Euclidean length of each row: (N,), summed in float64."""
    squares: FloatArray = np.empty(len(features), dtype)
    for part in chunks_of(features):
        squares[part] = np.square(features[part], dtype=np.float64).sum(axis=1)
    return squares


def longest(features: npt.NDArray[Any]) -> float:
    """The largest Euclidean length of a row."""
    return float(np.sqrt(squared_lengths(features).max()))


class BlockSource(Protocol):
    """What gives the similarities of some queries at a time with the whole gallery; larger is more alike."""

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def of(self, part: slice) -> FloatArray:
        """Similarities (queries of the part, G). The caller may overwrite them, and the next call does."""


def parts_of(count: int, rows: int) -> list[slice]:
    """0 … count cut into slices of `rows`."""
    return [slice(start, min(start + rows, count)) for start in range(0, count, rows)]
