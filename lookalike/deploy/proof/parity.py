"""How far the features of a runtime are from those of PyTorch, and what that does to a search."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lookalike.core.errors import UserError
from lookalike.deploy.proof.pictures import Encode, Pictures, encoded
from lookalike.evaluation.feature_set import FeatureSet
from lookalike.evaluation.metrics import metrics_named
from lookalike.evaluation.scoring import score_features
from lookalike.images import Records

Measure = Literal["largest_difference", "largest_angle", "mean_angle"]

_ROWS = 1024
"""So many vectors are compared with all others at once."""


@dataclass(frozen=True)
class Limit:
    """How far a runtime may be off, by one of the measures of `RuntimeParity`."""

    measure: Measure
    value: float


LIMITS = {
    "float32": Limit("largest_difference", 1e-4),
    "float16": Limit("largest_angle", 1e-3),
    "bfloat16": Limit("largest_angle", 1e-2),
    "int8": Limit("mean_angle", 0.04),
}
"""For each precision of a graph: float32 is the same but for rounding, 16 bits carry 11 or 8 of it. In 8 bits
every picture is moved, and what counts is how far on the mean: at most twice as far as the search for layers
to keep in float allows on training pictures.
"""

_WORDS = {
    "largest_difference": "of the largest value",
    "largest_angle": "in cosine",
    "mean_angle": "in cosine on the mean",
}


@dataclass(frozen=True)
class RuntimeParity:
    """One runtime against the PyTorch model.

    largest_difference: of a number of a feature, relative to the largest number. largest_angle, mean_angle:
        of 1 - cosine. same_neighbour: the share of pictures whose nearest one, among all others, is the same
        as with PyTorch. recall1: by the rules of evaluation, of one list that is query and gallery. Both are
        None where the pictures are noise, and recall where no class has two pictures.
    """

    runtime: str
    largest_difference: float
    largest_angle: float
    mean_angle: float
    same_neighbour: float | None = None
    recall1: float | None = None

    def check(self, limit: Limit) -> str | None:
        """What is wrong with it, None where it is within a limit."""
        found = getattr(self, limit.measure)
        if found <= limit.value:  # NaN is not
            return None
        return f"differs from the model by {found:.2g} {_WORDS[limit.measure]} (allowed {limit.value:.2g})"


@dataclass(frozen=True)
class Parity:
    """The runtimes of a model folder against the PyTorch model, on so many pictures.

    data: what the pictures are. recall1: that of PyTorch itself.
    """

    pictures: int
    data: str
    recall1: float | None
    runtimes: list[RuntimeParity] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """What goes into the manifest."""
        return asdict(self)


def compare(
    pictures: Pictures,
    model: Encode,
    runtimes: Mapping[str, Encode],
    code: Callable[[Any], Any] | None = None,
) -> Parity:
    """Embed pictures with the PyTorch model and with each runtime, and compare.

    `code` makes codes of 0 and 1 of features, for a model of which only the bits are used.
    """
    expected, *others = encoded(pictures, [model, *runtimes.values()])
    features = dict(zip(runtimes, others, strict=True))
    records = pictures.records()
    nearest, recall = _searched(expected, records, code)
    results = []
    for name, actual in features.items():
        turned = angles(actual, expected)
        found_nearest, found_recall = _searched(actual, records, code)
        same = None if nearest is None else float(np.mean(nearest == found_nearest))
        results.append(
            RuntimeParity(
                name,
                float(np.abs(actual - expected).max() / max(float(np.abs(expected).max()), 1e-12)),
                float(turned.max()),
                float(turned.mean()),
                same,
                found_recall,
            )
        )
    return Parity(len(expected), pictures.data, recall, results)


def angles(actual: NDArray[np.float32], expected: NDArray[np.float32]) -> NDArray[np.float64]:
    """1 - cosine of each row, in float64; two rows of zeros are the same."""
    a, b = actual.astype(np.float64), expected.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosines = (a * b).sum(axis=1) / np.where(lengths > 0, lengths, 1)
    equal = (a == b).all(axis=1)
    return np.where(equal, 0.0, 1.0 - cosines)


def _searched(
    features: NDArray[np.float32], records: Records | None, code: Callable[[Any], Any] | None
) -> tuple[NDArray[np.int64] | None, float | None]:
    """Positions of the nearest other picture of each, and recall@1."""
    if records is None or len(records) < 2 or not np.isfinite(features).all():
        return None, None
    vectors = features if code is None else code(features)
    nearest = _nearest(features if code is None else 2 * vectors.astype(np.float32) - 1)
    return nearest, recall_at_1(vectors, records, binary=code is not None)


def recall_at_1(vectors: NDArray[Any], records: Records, binary: bool = False) -> float | None:
    """Recall of a list that is query and gallery, by the rules of evaluation; None where there is nothing to
    find.
    """
    _, counts = np.unique(records.labels, return_counts=True)
    if counts.max() < 2:
        return None
    table = FeatureSet(
        vectors, records.labels, records.cameras, np.arange(len(vectors)), list(records.paths), binary=binary
    )
    try:
        return float(score_features(table, None, metrics_named(["recall@1"])).metrics["recall1"])
    except UserError:  # all pairs of a class are of one camera
        return None


def _nearest(vectors: NDArray[np.float32]) -> NDArray[np.int64]:
    """The position of the nearest other vector of each, by inner product, of any class and camera."""
    found = np.empty(len(vectors), np.int64)
    for start in range(0, len(vectors), _ROWS):
        products = vectors[start : start + _ROWS] @ vectors.T
        rows = np.arange(len(products))
        products[rows, start + rows] = -np.inf
        found[start : start + _ROWS] = products.argmax(axis=1)
    return found
