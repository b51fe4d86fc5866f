"""Tables of vectors, whatever made them, as the sets that a search is scored on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lookalike.core.errors import UserError
from lookalike.core.log import warn_once
from lookalike.evaluation.feature_set import FeatureSet
from lookalike.evaluation.loader import LeftOut
from lookalike.images.feature_table import UNKNOWN, FeatureTable, row_parts

_OF_LENGTH_ONE = {2: 1e-3, 4: 1e-5, 8: 1e-5}
"""By bytes of a number, how near to length 1 vectors are that were scaled before they were stored.

Half precision rounds a number by up to 2^-11 of itself, and a length by no more.
"""


def feature_sets(
    query: FeatureTable,
    gallery: FeatureTable | None = None,
    *,
    normalize: bool = True,
    broken: Sequence[LeftOut] = (),
) -> tuple[FeatureSet, FeatureSet]:
    """Query and gallery of a search; one and the same where `gallery` is None.

    normalize: scale vectors to length 1, so that their inner product is the cosine; codes stay as they are.
    broken: the images that are in neither table because they could not be read.

    Labels of both are compared as numbers, or as text where one of the two has text. The label -1 says that
    the class of an image is not known: in the gallery it is a distractor, and as a query it has no match.

    Raises UserError, with the file, where no label is known, and where one of both has codes and the other
    has none.
    """
    for table in filter(None, (query, gallery)):
        if table.labels is None:
            raise UserError(
                f"{table.origin} says no labels, so nothing can be scored: a list of its rows may (--list, "
                "--gallery-list); 'lookalike embed' writes labels of a --list, or with --folder-labels"
            )
    if gallery is None:
        found = _set(query, query.labels, query.cameras, normalize, broken)
        return found, found
    if (query.bits is None) != (gallery.bits is None):
        codes, real = (query, gallery) if gallery.bits is None else (gallery, query)
        raise UserError(
            f"{codes.origin} holds binary codes and {real.origin} does not: they must come from the same "
            "model"
        )
    labels = _alike(query.labels, gallery.labels)
    if labels[0] is not query.labels:
        warn_once(
            f"labels are numbers in the one and text in the other of {query.origin} and {gallery.origin}: "
            "they are compared as text"
        )
    cameras = _alike(query.cameras, gallery.cameras)
    return (
        _set(query, labels[0], cameras[0], normalize, broken),
        _set(gallery, labels[1], cameras[1], normalize, ()),
    )


def scaled(vectors: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """x / max(|x|, 1e-12) for each row, as float32 (float64 stays): a zero vector stays zero.

    Where all rows have length 1 already, it is the same array: dividing again would only move the last bits
    (and with them items that are almost equally near), and take memory-mapped vectors into memory.
    """
    lengths = np.empty(len(vectors))
    for part in row_parts(len(vectors)):
        rows = vectors[part]  # in float32 or float16 the squares might overflow
        lengths[part] = np.sqrt(np.einsum("nd,nd->n", rows, rows, dtype=np.float64, casting="unsafe"))
    if np.abs(lengths - 1).max() < _OF_LENGTH_ONE.get(vectors.itemsize, 0):
        return vectors
    result = np.empty(vectors.shape, np.float64 if vectors.dtype == np.float64 else np.float32)
    for part in row_parts(len(vectors)):
        result[part] = vectors[part] / np.maximum(lengths[part], 1e-12)[:, None]
    return result


def _set(
    table: FeatureTable, labels: Any, cameras: Any, normalize: bool, broken: Sequence[LeftOut]
) -> FeatureSet:
    if table.bits is not None:
        features = table.codes()
    else:
        features = scaled(table.vectors) if normalize else table.vectors
    unknown = labels == UNKNOWN if labels.dtype.kind == "i" else labels == str(UNKNOWN)
    return FeatureSet(
        features,
        labels,
        cameras,
        np.arange(len(table)),
        table.paths,
        list(broken),
        binary=table.bits is not None,
        distractors=unknown if unknown.any() else None,
    )


def _alike(first: Any, second: Any) -> tuple[Any, Any]:
    """Two columns of one kind, so that they can be compared: text where one of them is text."""
    if first is None or second is None or first.dtype.kind == second.dtype.kind:
        return first, second
    return first.astype(str), second.astype(str)
