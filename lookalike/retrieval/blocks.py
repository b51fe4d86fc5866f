"""Features and labels as arrays, checked, and their similarities a block of queries at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating[Any]]
IntArray = npt.NDArray[np.int64]

# Larger blocks make the matrix product no faster, but push its result out of the cache before it is read.
_COMFORTABLE_BLOCK = 24 * 2**20


def as_array(values: Any) -> npt.NDArray[Any]:
    """A NumPy array of a list, an array or a torch tensor (on any device, with or without gradient)."""
    if hasattr(values, "detach") and hasattr(values, "cpu"):  # a torch tensor; torch itself need not be here
        values = values.detach().cpu()
        if str(values.dtype) == "torch.bfloat16":  # NumPy has no such type
            values = values.float()
        values = values.numpy()
    return np.asarray(values)


def as_features(values: Any, name: str) -> FloatArray:
    """Features (N, D) as float32, or float64 where they are that.

    Raises ValueError for another shape and for NaN or infinity.
    """
    array = as_array(values)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(
            f"{name} features must be a matrix (items, dimensions) that is not empty, got shape {array.shape}"
        )
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} features must be real numbers, got {array.dtype}")
    features: FloatArray = np.ascontiguousarray(
        array, dtype=np.float64 if array.dtype == np.float64 else np.float32
    )
    if not (np.isfinite(features.min()) and np.isfinite(features.max())):
        bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
        raise ValueError(
            f"{len(bad)} of {len(features)} {name} features have NaN or infinite values, "
            f"the first is item {bad[0]}"
        )
    return features


def as_codes(values: Any, name: str) -> FloatArray:
    """Binary codes (N, bits), written as 0 and 1, as -1 and 1 or as booleans, turned into -1 and 1.

    The product of two such codes is `bits - 2 * Hamming distance`, a whole number that float32 holds exactly.
    """
    codes = as_features(values, name)
    positive = codes == 1
    for negative in (0, -1):
        if bool(np.all(positive | (codes == negative))):
            return np.where(positive, np.float32(1), np.float32(-1))
    raise ValueError(f"{name} codes must hold only 0 and 1, or only -1 and 1")


def as_labels(values: Any, name: str, count: int) -> npt.NDArray[Any]:
    """Labels (or cameras, or image ids) as a vector of the given length; a column (N, 1) is taken as well."""
    array = as_array(values)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1 or len(array) != count:
        raise ValueError(
            f"{name} must be a vector of {count} values, one for each feature, got shape {array.shape}"
        )
    return array


def joint_codes(query: npt.NDArray[Any], gallery: npt.NDArray[Any], name: str) -> tuple[IntArray, IntArray]:
    """Numbers 0, 1, … in place of the values of two vectors, equal where the values are equal."""
    if (query.dtype.kind in "iufb") != (gallery.dtype.kind in "iufb"):
        raise ValueError(
            f"{name} of query and gallery must be of one type, got {query.dtype} and {gallery.dtype}"
        )
    _, codes = np.unique(np.concatenate([query, gallery]), return_inverse=True)
    codes = codes.reshape(-1).astype(np.int64)
    return codes[: len(query)], codes[len(query) :]


def block_rows(gallery_size: int, itemsize: int, memory_budget: int) -> int:
    """How many queries to take at a time, for similarities and rivals to stay within a budget in bytes."""
    row = max(1, 2 * gallery_size * itemsize)
    comfortable = max(64, _COMFORTABLE_BLOCK // row)
    return max(1, min(comfortable, memory_budget // row))


def identical_rows(features: FloatArray) -> tuple[IntArray, IntArray]:
    """Rows that repeat an earlier row bit for bit, and that earlier row of each: (copies, originals)."""
    seen: dict[int, int] = {}
    copies, originals = [], []
    for index, row in enumerate(features):
        first = seen.setdefault(hash(row.tobytes()), index)
        if first != index and np.array_equal(features[first], row):
            copies.append(index)
            originals.append(first)
    return np.asarray(copies, dtype=np.int64), np.asarray(originals, dtype=np.int64)


class Similarities:
    """Similarities (inner products) of some queries at a time with the whole gallery.

    Equal gallery features get equal similarities: a matrix product may round them differently by where they
        stand, which would break ties at random.
    """

    def __init__(self, query: FloatArray, gallery: FloatArray) -> None:
        self.dtype: np.dtype[Any] = np.result_type(query, gallery)
        self._query = query.astype(self.dtype, copy=False)
        self._gallery = gallery.astype(self.dtype, copy=False)
        largest = float(np.abs(query).max()) * float(np.abs(gallery).max()) * query.shape[1]
        if largest > float(np.finfo(self.dtype).max):
            raise ValueError(
                "the features are so large that their similarities overflow: normalise them first"
            )
        self._copies, self._originals = identical_rows(self._gallery)

    def of(self, part: slice) -> FloatArray:
        """A new array (queries of the part, G), which the caller may overwrite."""
        block: FloatArray = self._query[part] @ self._gallery.T
        if self._copies.size:
            block[:, self._copies] = block[:, self._originals]
        return block


def parts_of(count: int, rows: int) -> list[slice]:
    """0 … count cut into slices of `rows`."""
    return [slice(start, min(start + rows, count)) for start in range(0, count, rows)]
