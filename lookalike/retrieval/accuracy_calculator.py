"""The `AccuracyCalculator` of pytorch-metric-learning on this engine: the same calls, bounded memory.

There the labels of the k nearest items of all queries are held at once, with k the whole gallery by default:
    28.8 GB for 60,000 images. Here, beside the features, never more than `memory_budget`.

The same numbers, but for ties: there the items of equal distance stand as faiss leaves them, here a tie
    counts against the query. Labels are compared as they are, where there they become float32, in which
    16,777,216 and 16,777,217 are one. k beyond the gallery means all of it.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lookalike.retrieval.blocks import (
    FloatArray,
    IntArray,
    Similarities,
    as_features,
    as_labels,
    chunks_of,
    joint_codes,
    squared_lengths,
)
from lookalike.retrieval.evaluate import Result, evaluate_retrieval
from lookalike.retrieval.summaries import class_means

RANKINGS = (
    "mean_average_precision",
    "mean_average_precision_at_r",
    "mean_reciprocal_rank",
    "precision_at_1",
    "r_precision",
)
CLUSTERINGS = ("AMI", "NMI")


class AccuracyCalculator:
    """Figures of retrieval by the names, arguments and conventions of pytorch-metric-learning 2.9.

    With r_i the rank of the i-th of R right items of a query and K the places looked at:

    | precision_at_1 | [r_1 = 1] |
    | r_precision | hits among the first min(R, K), divided by min(R, K) |
    | mean_average_precision | 1/R · Σ_{i: r_i ≤ K} i / r_i (R also where K is smaller) |
    | mean_average_precision_at_r | 1/R · Σ_{i: r_i ≤ min(R, K)} i / r_i |
    | mean_reciprocal_rank | 1 / r_1, 0 where r_1 > K |

    The nearest is what has the smallest Euclidean distance. Queries without a right item are in no mean;
    where there are no others every figure is NaN, with a warning.

    include, exclude: names of figures; by default all five. AMI and NMI judge a k-means clustering, not a
        ranking, and are refused (in `exclude` they may stand); by default they are left out.
    avg_of_avgs: the mean over labels of their means. return_per_class: these means, in ascending order of
        the labels that have a right item.
    k: places looked at, a number, "max_bin_count" (the largest R) or None (all).
    device: taken for the sake of calls that give it. Tensors are ranked where they are; of unequal length,
        or as arrays, on the processor.
    label_comparison_fn, knn_func, kmeans_func: refused. Figures of a subclass (`calculate_…`) as well.
    memory_budget: bytes beyond the features.

    >>> import numpy as np
    >>> features = np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.6, 0.8]])
    >>> AccuracyCalculator(include=("precision_at_1",)).get_accuracy(features, np.array([3, 3, 4, 4]))
    {'precision_at_1': 0.5}
    """

    def __init__(
        self,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        avg_of_avgs: bool = False,
        return_per_class: bool = False,
        k: int | str | None = None,
        label_comparison_fn: None = None,
        device: Any = None,
        knn_func: None = None,
        kmeans_func: None = None,
        *,
        memory_budget: int = 512 * 2**20,
    ) -> None:
        for name, given, why in (
            ("label_comparison_fn", label_comparison_fn, "items are right where labels are equal"),
            ("knn_func", knn_func, "items are ranked exactly, by Euclidean distance"),
            ("kmeans_func", kmeans_func, "nothing is clustered"),
        ):
            if given is not None:
                raise ValueError(f"{name} is not taken: {why}")
        own = [name for name in dir(self) if name.startswith("calculate_")]
        if own:
            raise ValueError(f"{own[0]} would need the labels of all neighbours at once, which are not held")
        if avg_of_avgs and return_per_class:
            raise ValueError("avg_of_avgs and return_per_class exclude each other: a mean, or its parts")
        whole = isinstance(k, int) and not isinstance(k, bool) and k > 0
        if not whole and k not in (None, "max_bin_count"):
            raise ValueError(f"k must be a whole number of at least 1, None or 'max_bin_count', got {k!r}")
        self._names = _chosen(RANKINGS, include, exclude)
        self._current = self._names
        self.avg_of_avgs, self.return_per_class = avg_of_avgs, return_per_class
        self.k, self.device, self.memory_budget = k, device, memory_budget

    def get_accuracy(
        self,
        query: Any,
        query_labels: Any,
        reference: Any = None,
        reference_labels: Any = None,
        ref_includes_query: bool = False,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
    ) -> dict[str, Any]:
        """Figures by name: floats, or lists with one float a label where `return_per_class`.

        query (Q, D), reference (G, D): NumPy arrays, also memory-mapped ones, or tensors. Labels: numbers or
            strings.
        ref_includes_query: the first Q items of the reference are the queries, and do not count for
            themselves. So it is without a reference.
        include, exclude: of the figures of this calculator.
        """
        self._current = _chosen(self._names, include, exclude)
        if (reference is None) != (reference_labels is None):
            raise ValueError("reference and reference_labels must both be given, or neither")
        if reference is None:
            reference, reference_labels, ref_includes_query = query, query_labels, True
        queries, gallery = as_features(query, "query"), as_features(reference, "reference")
        labels, gallery_labels = joint_codes(
            as_labels(query_labels, "query labels", len(queries)),
            as_labels(reference_labels, "reference labels", len(gallery)),
            "labels",
        )
        if ref_includes_query:
            _check_included(queries, labels, gallery, gallery_labels)

        itself = int(ref_includes_query)
        right = np.bincount(gallery_labels, minlength=labels.max() + 1)[labels] - itself
        if not right.any():
            warnings.warn("no query has a right item in the reference: every figure is NaN", stacklevel=2)
            nothing: Any = float("nan")
            if self.return_per_class:
                nothing = [nothing] * len(np.unique(labels))
            return dict.fromkeys(self._current, nothing)

        # the order of inner products is that of distances where all lengths are equal
        equally_long = _equally_long(gallery)
        places = int(right.max()) if self.k == "max_bin_count" else int(self.k or len(gallery))
        names = ("precision@1", "R-precision", "mAP@R", "MRR", f"precision@{places}", f"mAP@{places}")
        result = evaluate_retrieval(
            # as they were given, since tensors are ranked where they are
            query if equally_long else queries,
            labels,
            reference if equally_long else gallery,
            gallery_labels,
            metrics=names,
            exclude_self=np.arange(len(queries)) if ref_includes_query else False,
            memory_budget=self.memory_budget,
            similarities=None if equally_long else _Nearness(queries, gallery, self.memory_budget),
        )
        values = _values(result, places)
        return {name: self._summary(values[name], labels[result.has_positive]) for name in self._current}

    def _summary(self, values: npt.NDArray[np.float64], labels: npt.NDArray[Any]) -> Any:
        if self.return_per_class:
            return class_means(values, labels).values.tolist()
        return class_means(values, labels).macro if self.avg_of_avgs else float(values.mean())

    def get_curr_metrics(self) -> list[str]:
        """Names of the figures that the last call gave, or the next will give: testers ask for them."""
        return list(self._current)

    def description(self) -> str:
        """What the testers of pytorch-metric-learning add to the names in their logs."""
        return "avg_of_avgs" if self.avg_of_avgs else ""


class _Nearness(Similarities):
    """q·g - |g|²/2: the larger, the smaller the Euclidean distance of q and g."""

    def __init__(self, query: FloatArray, gallery: FloatArray, memory_budget: int) -> None:
        super().__init__(query, gallery, memory_budget)
        with np.errstate(over="ignore"):
            self._half_squares = (squared_lengths(gallery) / 2).astype(self.dtype)
        if not np.isfinite(self._half_squares).all():
            raise ValueError("the features are so large that their distances overflow: scale them first")

    def of(self, part: slice) -> FloatArray:
        block = super().of(part)
        block -= self._half_squares
        return block


def _values(result: Result, places: int) -> dict[str, npt.NDArray[np.float64]]:
    """Figures of the queries that have a right item, looked for among the first `places`: (Q',) each."""
    assert result.per_query is not None
    assert result.positives is not None
    assert result.first_hit_rank is not None
    members = result.has_positive
    of = {name: values[members] for name, values in result.per_query.items()}
    right, first = result.positives[members], result.first_hit_rank[members]
    # ours divides by what can be found in so many places, theirs by all there is
    average_precision = of[f"mAP@{places}"] * np.minimum(right, places) / right
    return {
        "mean_average_precision": average_precision,
        "mean_average_precision_at_r": np.where(right <= places, of["mAP@R"], average_precision),
        "mean_reciprocal_rank": np.where(first <= places, of["MRR"], 0.0),
        "precision_at_1": of["precision@1"],
        "r_precision": np.where(right <= places, of["R-precision"], of[f"precision@{places}"]),
    }


def _chosen(names: Sequence[str], include: Sequence[str], exclude: Sequence[str]) -> tuple[str, ...]:
    """Those of the names that are included (all where nothing is said) and not excluded."""
    for given in (include, exclude):
        if isinstance(given, str):
            raise ValueError(f"names of figures stand in a tuple or list, got the string '{given}'")
        unknown = [name for name in given if name not in (*RANKINGS, *CLUSTERINGS)]
        if unknown:
            raise ValueError(f"there is no figure '{unknown[0]}' (there are: {', '.join(RANKINGS)})")
    for name in include:
        if name in CLUSTERINGS:
            raise ValueError(
                f"{name} judges a k-means clustering of the features, not a ranking, and is not given "
                "here: leave it out, or ask pytorch-metric-learning for it alone"
            )
    return tuple(name for name in names if (not include or name in include) and name not in exclude)


def _check_included(
    queries: FloatArray, labels: IntArray, gallery: FloatArray, gallery_labels: IntArray
) -> None:
    """Raises ValueError where the reference does not begin with the queries."""
    included = len(queries) <= len(gallery) and np.array_equal(labels, gallery_labels[: len(queries)])
    if not included or not all(np.allclose(queries[part], gallery[part]) for part in chunks_of(queries)):
        raise ValueError(
            "ref_includes_query says that the reference begins with the queries and their labels, in that "
            "order, but it does not"
        )


def _equally_long(features: FloatArray) -> bool:
    """Whether the rows have one length, but for the rounding of a normalisation in float32."""
    squares = squared_lengths(features)
    return bool(squares.max() - squares.min() <= 32 * np.finfo(np.float32).eps * squares.max())
