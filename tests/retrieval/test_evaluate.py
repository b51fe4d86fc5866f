"""Formulas by hand, the types taken, what is reported beside the figures, and the sentences of errors."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lookalike.retrieval import (
    blocks,
    bootstrap_interval,
    evaluate_retrieval,
    exact_where_all_agree,
    parse_metric,
)
from lookalike.retrieval.blocks import block_rows, identical_rows
from lookalike.retrieval.reference import reference_metric

ONE = np.ones((1, 1), dtype=np.float32)


def line(similarities: list[float], positive: list[int], **options: object):
    """One query whose similarities with the gallery are given; `positive` are the positions of its label."""
    labels = np.isin(np.arange(len(similarities)), positive)
    return evaluate_retrieval(ONE, [1], np.float32(similarities)[:, None], labels.astype(int), **options)


def test_formulas_by_hand() -> None:
    # ranking: miss, hit, miss, hit, miss
    result = line(
        [0.9, 0.8, 0.7, 0.6, 0.5], [1, 3], metrics=["recall@1", "recall@2", "mAP", "mINP", "precision@4"]
    )
    assert result["recall@1"] == 0.0
    assert result["recall@2"] == 1.0
    assert result["mAP"] == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert result["mINP"] == pytest.approx(2 / 4)
    assert result["precision@4"] == pytest.approx(2 / 4)
    assert result.first_hit_rank.tolist() == [2]
    assert result.average_precision.tolist() == pytest.approx([0.5])


def test_mean_inverse_negative_penalty_is_one_based() -> None:
    assert line([0.9, 0.1], [0], metrics=["mINP"])["mINP"] == 1.0
    assert line([0.9, 0.1], [0], metrics=["mINP"], reference_behaviour=True)["mINP"] == np.inf


def test_ties_count_against_the_query() -> None:
    result = line([0.5, 0.5, 0.5, 0.5], [0, 2], metrics=["recall@2", "recall@3", "mAP"])
    assert (result["recall@2"], result["recall@3"]) == (0.0, 1.0)
    assert result["mAP"] == pytest.approx((1 / 3 + 2 / 4) / 2)


def test_a_collapsed_model_gets_the_worst_figures() -> None:
    features, labels = np.full((20, 7), 0.3779645), np.repeat(np.arange(4), 5)
    result = evaluate_retrieval(features, labels, features, labels, exclude_self=True)
    assert result["recall@5"] == 0.0
    assert result["mINP"] == pytest.approx(4 / 19)


def test_k_beyond_the_gallery_means_all_of_it() -> None:
    result = line([0.9, 0.8], [1], metrics=["recall@10", "precision@10"])
    assert result["recall@10"] == 1.0
    assert result["precision@10"] == pytest.approx(1 / 10)


def test_junk_is_removed_not_left_in() -> None:
    gallery = np.float32([0.9, -0.5, 0.8])[:, None]
    labels, cameras = [1, 1, 2], [0, 1, 1]
    figures = evaluate_retrieval(ONE, [1], gallery, labels, [0], cameras, metrics=["mAP"])
    assert figures["mAP"] == pytest.approx(1 / 2)  # ranking: miss (0.8), hit (-0.5)
    reference = evaluate_retrieval(
        ONE, [1], gallery, labels, [0], cameras, metrics=["mAP"], reference_behaviour=True
    )
    assert reference["mAP"] == pytest.approx(1 / 3)  # ranking: miss (0.8), junk at 0, hit (-0.5)


def test_queries_without_positive_are_reported_and_in_no_mean() -> None:
    gallery = np.eye(3, dtype=np.float32)
    result = evaluate_retrieval(gallery, [0, 1, 9], gallery, [0, 1, 2])
    assert result["recall@1"] == result["precision@1"] == 1.0
    assert (result.queries, result.gallery, result.queries_without_positive) == (3, 3, 1)
    assert result.has_positive.tolist() == [True, True, False]
    assert result.average_precision.tolist() == [1.0, 1.0, 0.0]
    assert result.first_hit_rank.tolist() == [1, 1, 0]
    assert np.mean(result.per_query["recall@1"][result.has_positive]) == result["recall@1"]


def test_top_k_lists_what_is_ranked() -> None:
    gallery = np.float32([0.1, 0.9, 0.5, 0.9])[:, None]
    result = evaluate_retrieval(ONE, [1], gallery, [1, 1, 1, 2], top_k=3, exclude_self=np.array([1]))
    assert result.top_k.indices.tolist() == [[3, 2, 0]]
    np.testing.assert_allclose(result.top_k.similarities, [[0.9, 0.5, 0.1]])
    result = evaluate_retrieval(ONE, [1], gallery, [1, 1, 1, 2], top_k=9, exclude_self=np.array([1]))
    assert result.top_k.indices.tolist() == [[3, 2, 0, -1]]
    assert line([0.5, 0.5, 0.5], [1], top_k=2).top_k.indices.tolist() == [[0, 1]]


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_types_of_features(kind: type) -> None:
    features, labels = np.random.default_rng(0).normal(size=(30, 8)).astype(kind), np.arange(30) % 7
    double = features.astype(np.float64)
    expected = evaluate_retrieval(double, labels, double, labels, exclude_self=True)
    for given in (features, torch.from_numpy(features), torch.from_numpy(features).requires_grad_()):
        assert dict(
            evaluate_retrieval(given, torch.from_numpy(labels), given, labels[:, None], exclude_self=True)
        ) == dict(expected)


def test_bfloat16_and_names_as_labels() -> None:
    features = torch.eye(4, dtype=torch.bfloat16)
    assert evaluate_retrieval(features, list("abca"), features, np.array(list("abca")))["recall@1"] == 1.0


def test_features_on_the_disk_and_little_memory(tmp_path: Path) -> None:
    features, labels = np.random.default_rng(0).normal(size=(60, 8)), np.arange(60) % 7
    for kind in (np.float16, np.float32):
        stored = features.astype(kind)
        np.save(tmp_path / "features.npy", stored)
        mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
        assert np.shares_memory(blocks.as_features(mapped, "gallery"), mapped)
        expected = evaluate_retrieval(stored, labels, stored, labels, exclude_self=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(blocks, "_CHUNK", 200)  # bytes: half-precision rows are converted by the handful
            result = evaluate_retrieval(mapped, labels, mapped, labels, exclude_self=True, memory_budget=900)
        assert dict(result) == dict(expected)


def test_means_by_class_and_intervals() -> None:
    # two queries of class 1 (one found at once, one not), one of class 2 (found), one without a match
    gallery = np.float32([[1, 0], [0, 1]])
    query = np.float32([[1, 0], [0, 1], [0, 1], [1, 1]])
    result = evaluate_retrieval(query, [1, 1, 2, 3], gallery, [1, 2], metrics=["recall@1", "MRR"])
    means = result.by_class("recall@1")
    assert (means.labels.tolist(), means.queries.tolist(), means.values.tolist()) == (
        [1, 2],
        [2, 1],
        [0.5, 1],
    )
    assert (result["recall@1"], means.macro) == (pytest.approx(2 / 3), 0.75)
    low, high = result.interval("recall@1")
    assert 0 <= low < 2 / 3 < high == 1
    with pytest.raises(ValueError, match=r"'mAP' was not asked for \(there are: recall@1, MRR\)"):
        result.interval("mAP")


def test_an_interval_holds_the_mean_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    held = 0
    for seed in range(200):
        low, high = bootstrap_interval(generator.random(80) < 0.7, 0.9, resamples=400, seed=seed)
        held += low <= 0.7 <= high
    assert 170 <= held <= 190  # 180 expected; binomial, standard deviation 4.2; the bootstrap is a bit narrow
    with pytest.raises(ValueError, match="confidence must lie"):
        bootstrap_interval([1.0], 95)
    with pytest.raises(ValueError, match="needs a vector of values"):
        bootstrap_interval([])


def test_where_all_queries_agree_the_interval_is_the_exact_one() -> None:
    """The bound is the share at which as many hits in a row still come as often as half of alpha."""
    vectors = np.eye(8, dtype=np.float32)[np.arange(16) % 8]
    labels, wrong = np.arange(16) % 8, (np.arange(16) + 1) % 8
    names = ["recall@1", "mAP", "first_hit_rank", "TAR@FAR=0.1", "DIR@FAR=0.1"]
    right = evaluate_retrieval(vectors, labels, vectors, labels, exclude_self=True, metrics=names)
    for name in ("recall@1", "mAP", "TAR@FAR=0.1", "DIR@FAR=0.1"):
        low, high = right.interval(name, 0.9)
        assert high == right[name] == 1
        assert low**16 == pytest.approx(0.05)  # 16 queries, which are 16 groups of pairs as well
    assert right.interval("first_hit_rank") == (1, 1)  # a rank and no share
    missed = evaluate_retrieval(vectors, wrong, vectors, labels, metrics=["recall@1"])
    low, high = missed.interval("recall@1", 0.9)
    assert low == missed["recall@1"] == 0
    assert (1 - high) ** 16 == pytest.approx(0.05)
    assert exact_where_all_agree((0.9, 1.0), 16) == (0.9, 1.0)
    assert exact_where_all_agree((0.5, 0.5), 16) == (0.5, 0.5)


@pytest.mark.parametrize("offset", [0.0, 10.0, 100.0, 3000.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_true_accept_rates_of_pairs_that_lie_close_together(offset: float, dtype: type) -> None:
    """However narrow the similarities are, or however long one of the vectors is."""
    generator = np.random.default_rng(1)
    labels = np.arange(200) % 50
    features = generator.normal(size=(50, 16))[labels] + 0.7 * generator.normal(size=(200, 16))
    features[:, 0] += offset
    features = (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(dtype)
    if offset == 0:
        features[7] *= 1000
    rates = (0.1, 0.01, 0.001)
    result = evaluate_retrieval(
        features, labels, features, labels, exclude_self=True, metrics=[f"TAR@FAR={each}" for each in rates]
    )
    similarities = blocks.Similarities(features, features).of(slice(0, 200)).astype(np.float64)
    same, other = labels[:, None] == labels, labels[:, None] != labels
    np.fill_diagonal(same, False)
    for rate in rates:
        wrong = np.sort(similarities[other])[::-1]
        exact = (similarities[same] > wrong[int(rate * len(wrong) + 1e-9)]).mean()
        found = result[f"TAR@FAR={rate}"]
        assert exact - 0.0005 - 1 / same.sum() <= found <= exact + 1e-12
    assert result.pairs.positives.sum() == same.sum()
    assert result.pairs.others.sum() == other.sum()
    assert np.all(np.diff(result.pairs.edges) > 0)


def test_interval_of_a_true_accept_rate() -> None:
    """About as wide as a bootstrap of single queries, of which those of a group are drawn together."""
    generator = np.random.default_rng(0)
    labels = np.arange(640) % 64
    features = generator.normal(size=(64, 8))[labels] + generator.normal(size=(640, 8))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    name = "TAR@FAR=0.01"
    result = evaluate_retrieval(features, labels, features, labels, exclude_self=True, metrics=[name])
    similarities, same = features @ features.T, labels[:, None] == labels
    np.fill_diagonal(similarities, np.nan)
    rates = []
    for _ in range(300):
        rows = generator.integers(0, 640, 640)
        right, wrong = (similarities[rows][which[rows]] for which in (same, ~same))
        rates.append((right[~np.isnan(right)] > np.quantile(wrong, 0.99)).mean())
    low, high = result.interval(name)
    assert low < result[name] < high
    naive_low, naive_high = np.quantile(rates, [0.025, 0.975])
    assert high - low == pytest.approx(naive_high - naive_low, rel=0.25)
    with pytest.raises(ValueError, match="share of pairs"):
        result.by_class(name)
    with pytest.raises(ValueError, match="needs two classes"):
        evaluate_retrieval(features, np.zeros(640), features, np.zeros(640), metrics=[name])
    alone = evaluate_retrieval(features[:1], labels[:1], features[1:], labels[1:], metrics=[name])
    assert (alone[name], *alone.interval(name)) == (0, 0, pytest.approx(0.975))  # one query tells nothing


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_interval_of_a_rate_whose_threshold_lies_beside_the_edge_of_a_bin(dtype: type) -> None:
    """Similarities 0.5 ± 1e-6: draws have their thresholds on both sides of the edge 0.5."""
    generator, labels = np.random.default_rng(0), np.arange(320) % 40
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)[labels]
    query, gallery = np.zeros((2, 320, 4))
    query[:, 0], gallery[:, 0], gallery[:, 3] = 1, 0.5, 0.75**0.5
    for each in (query, gallery):
        circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        each[:, 1:3] = 1e-3 * (circle + 0.5 * generator.normal(size=(320, 2)))
    wrong = (query @ gallery.T)[labels[:, None] != labels]
    gallery[:, 0] -= np.quantile(wrong, 0.9) - 0.5 + 3e-8
    name = "TAR@FAR=0.1"
    result = evaluate_retrieval(query.astype(dtype), labels, gallery.astype(dtype), labels, metrics=[name])
    low, high = result.interval(name)
    assert result[name] - 0.05 < low < result[name] < high < result[name] + 0.05


@pytest.mark.parametrize(
    ("pairs", "told"), [([2.0], "from 0 to 1"), ([np.nan], "from 0 to 1"), (0.01, "from 0 to 1")]
)
def test_rates_of_pairs_must_be_rates(pairs: Any, told: str) -> None:
    features, labels = np.eye(4), np.array([0, 0, 1, 1])
    with pytest.raises(ValueError, match=told):
        evaluate_retrieval(features, labels, features, labels, pairs=pairs)
    assert evaluate_retrieval(features, labels, features, labels, pairs=np.array([0.0])).pairs is not None


def test_pairs_of_unit_vectors_have_narrow_bins() -> None:
    features = np.random.default_rng(0).normal(size=(50, 16))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    labels = np.arange(50) % 5
    pairs = evaluate_retrieval(features, labels, features, labels, pairs=True, exclude_self=True).pairs
    assert np.diff(pairs.edges) == pytest.approx(2**-14)
    assert pairs.positives.sum() == 50 * 9  # no image with itself
    with pytest.raises(ValueError, match=r"lies in 0\.\.1"):
        pairs.threshold_at(2)


def test_another_measure_than_the_inner_product() -> None:
    class Nearness:
        dtype = np.dtype(np.float64)

        def of(self, part: slice) -> np.ndarray:
            return -np.abs(features[part, None] - features[None, :])

    features, labels = np.array([0.0, 5.0, 0.5, 5.5]), [0, 1, 0, 1]
    options = {"exclude_self": True, "similarities": Nearness()}
    column = features[:, None]
    assert evaluate_retrieval(column, labels, column, labels, **options)["recall@1"] == 1.0
    with pytest.raises(ValueError, match="pairs counts inner products"):
        evaluate_retrieval(column, labels, column, labels, pairs=True, **options)


def test_progress_wraps_the_blocks() -> None:
    seen: list[slice] = []

    def progress(parts):
        for part in parts:
            seen.append(part)
            yield part

    features = np.eye(5, dtype=np.float32)
    evaluate_retrieval(features, range(5), features, range(5), block_size=2, progress=progress)
    assert [part.stop for part in seen] == [2, 4, 5]


def test_memory_is_bounded() -> None:
    assert block_rows(1_000_000, 4, 512 * 2**20) * 1_000_000 * 4 <= 512 * 2**20
    assert block_rows(10**9, 4, 1) == 1
    assert block_rows(10, 4, 512 * 2**20) >= 64


def test_memory_is_bounded_with_few_classes() -> None:
    """Half of the gallery is right for each query: ranks take more than similarities, and count too."""
    features, labels = np.random.default_rng(0).normal(size=(40_000, 4)), np.arange(40_000) % 2
    budget = 16 * 2**20
    tracemalloc.start()
    try:
        evaluate_retrieval(
            features[:60].astype(np.float32), labels[:60], features.astype(np.float32), labels,
            metrics=["mAP", "mAP@R", "nDCG@5"], memory_budget=budget,
        )  # fmt: skip
        assert tracemalloc.get_traced_memory()[1] < budget
    finally:
        tracemalloc.stop()


def test_labels_that_float64_would_round_stay_apart() -> None:
    eye = np.eye(2)
    with pytest.raises(ValueError, match="none of the 2 queries"):
        evaluate_retrieval(eye, np.int64([2**53, 1]), eye, np.uint64([2**53 + 1, 3]))
    assert evaluate_retrieval(eye, np.array([5, 6], object), eye, [5, 6], metrics="recall@1")["recall@1"] == 1


def test_identical_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.float32([[1, 2], [3, 4], [1, 2], [1, 2], [3, 4], [5, 6]])
    expected = [(2, 0), (3, 0), (4, 1)]
    assert sorted(zip(*identical_rows(rows), strict=True)) == expected
    # hashes that collide are no copies
    monkeypatch.setattr(blocks, "row_hashes", lambda features: np.zeros(len(features), np.uint64))
    assert sorted(zip(*identical_rows(rows), strict=True)) == expected


def test_hashes_of_rows_are_their_own() -> None:
    rows = np.random.default_rng(0).normal(size=(5000, 3)).astype(np.float16)
    assert len(np.unique(blocks.row_hashes(rows))) == len(np.unique(rows, axis=0))


HUGE = np.full((3, 3), 1e30, np.float32)
FEW = {"query": np.eye(3)[:2], "query_labels": [0, 1]}
GOOD = {"query": np.eye(3), "query_labels": [0, 1, 2], "gallery": np.eye(3), "gallery_labels": [0, 1, 2]}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"query": np.eye(4)[:3]}, "query features have 4 dimensions and gallery features 3"),
        ({"query": np.ones(3)}, r"query features must be a matrix .* got shape \(3,\)"),
        ({"gallery": np.ones((0, 3)), "gallery_labels": []}, "gallery features must be .* not empty"),
        ({"query": [[np.nan, 0, 0], [0, 1, 0], [0, np.inf, 1]]}, "2 of 3 query features have NaN .* item 0"),
        ({"query": HUGE, "gallery": HUGE}, "overflow: normalise"),
        ({"query": [["a", "b", "c"]] * 3}, "query features must be real numbers"),
        ({"query_labels": [0, 1]}, "query labels must be a vector of 3 values"),
        ({"query_labels": list("abc")}, "labels of query and gallery must be of one type"),
        ({"query_cameras": [0, 0, 0]}, "cameras must be given for both"),
        ({"query_cameras": [0, 0, 0], "gallery_cameras": [0]}, "gallery cameras must be a vector of 3"),
        ({"query_labels": [7, 8, 9]}, "none of the 3 queries has a gallery item with its label"),
        ({"exclude_self": True}, "none of the 3 queries"),
        (FEW | {"exclude_self": True}, "there are 2 queries and 3 gallery items"),
        ({"exclude_self": [0, 1, 3]}, "gallery positions from 0 to 2"),
        ({"exclude_self": [0.0, 1.0, 2.0]}, "gallery positions from 0 to 2"),
        ({"exclude_self": ([0], [1], [2])}, "must hold the image ids"),
        ({"metrics": ["mPA"]}, "unknown metric 'mPA', did you mean 'mAP'?"),
        ({"metrics": ["Recal@5"]}, "unknown metric 'Recal@5', did you mean 'recall@5'?"),
        ({"metrics": ["speed"]}, r"unknown metric 'speed' \(known: recall@k, "),
        ({"memory_budget": "512MB"}, "memory_budget must be a whole number of bytes, .*, got '512MB'"),
        ({"metrics": ["recall@0"]}, "whole number of at least 1"),
        ({"metrics": ["recall"]}, "unknown metric 'recall'"),
        ({"query_labels": [0, 1, np.nan]}, "query labels hold NaN"),
        ({"query_labels": np.array([0, "a", None], object)}, "query labels must be all numbers or all text"),
        ({"distractors": [0, 2, 1]}, "distractors must be True or False"),
        ({"top_k": 1.5}, "top_k must be a whole number, got 1.5"),
        ({"block_size": 0}, "block_size must be at least 1"),
        ({"top_k": 0}, "top_k must be at least 1"),
        ({"top_k": 3, "reference_behaviour": True}, "top_k lists the honest ranking"),
        ({"binary": True, "query": np.full((3, 3), 0.5)}, "query codes must hold only 0 and 1"),
    ],
)  # fmt: skip
def test_errors_are_sentences(change: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        evaluate_retrieval(**(GOOD | change))


def test_reference_knows_no_other_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    metric = parse_metric("mAP")
    object.__setattr__(metric, "family", "other")
    with pytest.raises(ValueError, match="the reference has no metric"):
        reference_metric(np.ones((1, 1)), np.ones((1, 1), bool), metric)


def test_needs_numpy_only() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import numpy as np; from lookalike.retrieval import evaluate_retrieval\n"
        "evaluate_retrieval(np.eye(2), [0, 1], np.eye(2), [0, 1])\n"
        "ours = {m for m in sys.modules if m.startswith('lookalike.') and '.retrieval' not in m}\n"
        "assert not ours, ours"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
