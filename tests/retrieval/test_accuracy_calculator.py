"""The drop-in against the calculator of pytorch-metric-learning."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_metric_learning.testers import GlobalEmbeddingSpaceTester
from pytorch_metric_learning.utils import accuracy_calculator as theirs

from lookalike.retrieval import AccuracyCalculator
from lookalike.retrieval.accuracy_calculator import RANKINGS

CPU = torch.device("cpu")


def compare(options: dict[str, Any], *data: Any, **more: Any) -> dict[str, Any]:
    options = {"exclude": ("AMI", "NMI"), "device": CPU, **options}
    expected = theirs.AccuracyCalculator(**options).get_accuracy(*data, **more)
    found = AccuracyCalculator(**options).get_accuracy(*data, **more)
    assert list(found) == list(expected)
    for name in expected:
        # theirs takes the mean of reciprocal ranks in float32
        tolerance = 1e-6 if name == "mean_reciprocal_rank" else 1e-12
        assert found[name] == pytest.approx(expected[name], abs=tolerance, nan_ok=True), name
    return found


@st.composite
def sets(draw: Any) -> tuple[tuple[Any, ...], bool]:
    """Query, labels, reference, labels; and whether the latter begins with the former."""
    queries, more, classes = draw(st.integers(1, 15)), draw(st.integers(1, 25)), draw(st.integers(1, 9))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    features = generator.normal(size=(queries + more, 4)).astype(np.float32)  # so ties are next to impossible
    if draw(st.booleans()):
        features /= np.linalg.norm(features, axis=1, keepdims=True)
    labels = generator.integers(0, classes, queries + more)
    included = draw(st.booleans())
    start = 0 if included else queries
    return (features[:queries], labels[:queries], features[start:], labels[start:]), included


@settings(max_examples=60, deadline=None)
@given(
    sets(),
    st.sampled_from(["mean", "avg_of_avgs", "return_per_class"]),
    st.sampled_from([None, "max_bin_count", 1, 3]),
)
@pytest.mark.filterwarnings("ignore:no query has a right item")
def test_the_same_numbers(case: tuple[tuple[Any, ...], bool], summary: str, k: Any) -> None:
    data, included = case
    counts = [int(np.sum(data[3] == label)) - included for label in data[1]]
    if k == "max_bin_count" and max(counts) == 0:
        return  # theirs asks faiss for no neighbour at all
    if isinstance(k, int) and k > len(data[2]) - included:
        return  # theirs takes the last item for each that is missing
    options = {"k": k} | ({} if summary == "mean" else {summary: True})
    tensors = [torch.from_numpy(np.ascontiguousarray(each)) for each in data]
    compare(options, *tensors, ref_includes_query=included)


@pytest.mark.filterwarnings("error")
def test_a_set_searched_in_itself_with_names_of_figures() -> None:
    generator = np.random.default_rng(0)
    features, labels = generator.normal(size=(60, 8)), generator.integers(0, 7, 60)
    labels[0] = 99  # has no match
    found = compare({}, features.astype(np.float32), labels)
    assert tuple(found) == RANKINGS
    some = compare({}, features.astype(np.float32), labels, include=("r_precision", "precision_at_1"))
    assert list(some) == ["precision_at_1", "r_precision"]
    assert some["r_precision"] == found["r_precision"]


@pytest.mark.parametrize("per_class", [False, True])
def test_no_query_with_a_match(per_class: bool) -> None:
    features, labels = np.eye(4, dtype=np.float32), np.arange(4)
    with pytest.warns(UserWarning, match="every figure is NaN"):
        compare({"return_per_class": per_class}, features, labels)


def test_a_tie_counts_against_the_query() -> None:
    features, labels = np.ones((4, 2), dtype=np.float32), np.array([0, 0, 1, 1])
    assert AccuracyCalculator().get_accuracy(features, labels)["mean_reciprocal_rank"] == pytest.approx(1 / 3)


def test_large_labels_stay_apart() -> None:
    features = np.array([[0.0], [0.1], [5.0], [5.1]], dtype=np.float32)
    labels = np.array([2**24, 2**24 + 1, 2**24, 2**24 + 1])
    assert AccuracyCalculator().get_accuracy(features, labels)["precision_at_1"] == 0.0


def test_it_serves_their_tester() -> None:
    generator = np.random.default_rng(2)
    features, labels = torch.from_numpy(generator.normal(size=(30, 4))).float(), torch.arange(30) % 5
    found = []
    for calculator in (
        AccuracyCalculator(k=4),
        theirs.AccuracyCalculator(exclude=("AMI", "NMI"), k=4, device=CPU),
    ):
        tester = GlobalEmbeddingSpaceTester(accuracy_calculator=calculator, batch_size=10, data_device=CPU)
        data = torch.utils.data.TensorDataset(features, labels)
        found.append(tester.test({"val": data}, 0, torch.nn.Identity())["val"])
    assert found[0] == pytest.approx(found[1], abs=1e-6)


def test_memory_is_that_of_the_budget() -> None:
    features = np.random.default_rng(3).normal(size=(1000, 8)).astype(np.float32)
    labels = np.arange(1000) // 4
    calculator = AccuracyCalculator(memory_budget=2**18)
    tracemalloc.start()
    calculator.get_accuracy(features, labels)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # all similarities at once are 4 MB; figures, labels and checks of the features are beside the budget
    assert peak < 2**20


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"include": ("AMI",)}, "AMI judges a k-means clustering"),
        ({"include": ("recall",)}, "no figure 'recall' .there are: mean_average_precision"),
        ({"include": "r_precision"}, "in a tuple or list"),
        ({"label_comparison_fn": torch.eq}, "items are right where labels are equal"),
        ({"knn_func": print}, "knn_func is not taken"),
        ({"kmeans_func": print}, "nothing is clustered"),
        ({"avg_of_avgs": True, "return_per_class": True}, "exclude each other"),
        ({"k": 0}, "at least 1"),
        ({"k": "all"}, "max_bin_count"),
    ],
)
def test_what_is_not_taken_is_told(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        AccuracyCalculator(**options)


def test_what_does_not_fit_is_told() -> None:
    class Own(AccuracyCalculator):
        def calculate_precision_at_2(self, **kwargs: Any) -> float:
            return 0.0

    with pytest.raises(ValueError, match="calculate_precision_at_2 would need"):
        Own()
    features, labels = np.eye(4, dtype=np.float32), np.array([0, 0, 1, 1])
    calculator = AccuracyCalculator()
    with pytest.raises(ValueError, match="begins with the queries"):
        calculator.get_accuracy(features[:2], labels[:2], features[1:], labels[1:], ref_includes_query=True)
    with pytest.raises(ValueError, match="must both be given"):
        calculator.get_accuracy(features, labels, features)
    long = features * np.float32([[1e20], [1], [1], [1]])
    with pytest.raises(ValueError, match="distances overflow"):
        calculator.get_accuracy(features * np.float32(1e-20), labels, long, labels)
