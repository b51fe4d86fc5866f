"""An evaluation as tables: a row for each query or class; and what is told beside its figures."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lookalike.core.errors import UserError
from lookalike.core.files import atomic_file
from lookalike.evaluation.feature_set import FeatureSet
from lookalike.evaluation.scoring import Evaluation
from lookalike.retrieval import Result

Row = Sequence[Any]


def query_table(evaluation: Evaluation) -> Iterator[Row]:
    """The header, then a row for each query: its path and label, its figures, and what was found first.

    Needs the features and `top_k` of the evaluation. Figures and `first_hit_rank` are empty where nothing in
    the gallery has the label of the query.
    """
    query, gallery, result = _parts(evaluation)
    top = evaluation.top_k
    assert top is not None, "evaluate with top_k=1"
    assert result.per_query is not None
    assert result.first_hit_rank is not None
    assert result.nearest_other is not None
    assert result.best_other is not None
    assert result.best_positive is not None
    of_queries = figures_of_queries(evaluation)
    of_queries.pop("first_hit_rank", None)  # it has a column of its own
    yield [
        "path", "label", "has_positive", *of_queries, "first_hit_rank",
        "nearest_path", "nearest_label", "nearest_similarity",
    ]  # fmt: skip
    figures = [result.per_query[name] for name in of_queries.values()]
    for row in range(len(query)):
        scored = bool(result.has_positive[row])
        own = [float(values[row]) if scored else "" for values in figures]
        first = int(result.first_hit_rank[row]) if scored else ""
        place = int(top.indices[row, 0])
        if result.best_other[row] >= result.best_positive[row]:
            place = int(result.nearest_other[row])  # of equally near items the wrong one stands first
        found: Row = ("", "", "")
        if place >= 0:
            found = (gallery.name_of(place), gallery.class_of(place), float(top.similarities[row, 0]))
        yield [query.name_of(row), query.class_of(row), int(scored), *own, first, *found]


def class_table(evaluation: Evaluation) -> Iterator[Row]:
    """The header, then a row for each class of the queries: how many, how many with a match, mean figures."""
    query, _, result = _parts(evaluation)
    of_queries = figures_of_queries(evaluation)
    yield ["label", "queries", "queries_with_match", *of_queries]
    labels, first, codes, counts = np.unique(
        query.labels, return_index=True, return_inverse=True, return_counts=True
    )
    with_match = np.bincount(codes.reshape(-1)[result.has_positive], minlength=len(labels))
    means = [result.by_class(name) for name in of_queries.values()]
    scored = {label: row for row, label in enumerate(means[0].labels.tolist())} if means else {}
    columns = (each.tolist() for each in (labels, first, counts, with_match))
    for label, example, count, matched in zip(*columns, strict=True):
        row = scored.get(label)
        own = ["" if row is None else float(each.values[row]) for each in means]
        yield [query.class_of(example), count, matched, *own]


def intervals(evaluation: Evaluation, confidence: float = 0.95) -> dict[str, tuple[float, float]]:
    """The bootstrap interval of each figure, by its key."""
    result = evaluation.result
    assert result is not None
    return {key: result.interval(name, confidence) for key, name in evaluation.figures.items()}


def macro_means(evaluation: Evaluation) -> dict[str, float]:
    """Each figure as a mean over classes, in which a class counts alike however many queries it has."""
    result = evaluation.result
    assert result is not None
    return {key: result.by_class(name).macro for key, name in figures_of_queries(evaluation).items()}


def figures_of_queries(evaluation: Evaluation) -> dict[str, str]:
    """The figures that each query has a value of: not those of pairs."""
    result = evaluation.result
    assert result is not None
    assert result.per_query is not None
    return {key: name for key, name in evaluation.figures.items() if name in result.per_query}


def write_table(path: str | Path, rows: Iterator[Row]) -> None:
    """Write a table as CSV. Raises UserError where the file cannot be written."""
    try:
        with atomic_file(path, "w") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from None


def _parts(evaluation: Evaluation) -> tuple[FeatureSet, FeatureSet, Result]:
    query, gallery, result = evaluation.query_set, evaluation.gallery_set, evaluation.result
    assert query is not None, "evaluate with keep_features=True"
    assert gallery is not None
    assert result is not None
    return query, gallery, result
