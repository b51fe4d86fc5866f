"""Figures of features that are there already, without loaders and without torch."""

from __future__ import annotations

import doctest
from dataclasses import replace

import numpy as np
import pytest

from lookalike.core.errors import UserError
from lookalike.evaluation import Evaluation, FeatureSet, build_metrics, evaluate, score_features, scoring
from lookalike.evaluation.tables import query_table
from lookalike.retrieval import RerankedSimilarities
from tests.evaluation.loaders import Vectors, random_set


def features_of(loader: Vectors, **more: object) -> FeatureSet:
    rows = np.arange(len(loader.features))
    return FeatureSet(loader.features, loader.labels, loader.cameras, rows, loader.paths, **more)


def test_the_figures_are_those_of_the_loaders() -> None:
    query, gallery = random_set(30, 1, cameras=True), random_set(50, 2, cameras=True)
    found = score_features(
        features_of(query), features_of(gallery), build_metrics(["mINP", "Recallk"]), top_k=3
    )
    expected = evaluate(
        lambda images: images, query, gallery, build_metrics(["mINP", "Recallk"]), feature_normalize=False
    )
    assert found.metrics == expected.metrics
    assert list(found.metrics) == ["mINP", "recall1", "recall5"]
    for each in (found, expected):
        assert each.result is not None
        assert {key: each.result[name] for key, name in each.figures.items()} == each.metrics
    assert found.query_set is not None
    assert expected.query_set is None
    told = found.to_dict()
    assert Evaluation.from_dict(told).to_dict() == told


def test_codes_are_compared_by_their_bits() -> None:
    codes = np.array([[0, 0, 0, 0], [0, 0, 0, 1], [1, 1, 1, 1], [0, 1, 1, 1]])
    items = FeatureSet(codes, np.array([0, 0, 1, 1]), None, np.arange(4), None, binary=True)
    assert score_features(items).metrics["recall1"] == 1.0  # by inner product 0001 is nearer to 1111
    with pytest.raises(UserError, match="both be binary codes, or both be real"):
        score_features(items, replace(items, binary=False))


def test_codes_are_re_ranked_from_their_hamming_distance() -> None:
    generator = np.random.default_rng(5)
    labels = np.arange(60) % 4
    codes = (generator.integers(0, 2, (4, 32))[labels] ^ (generator.random((60, 32)) < 0.3)).astype(np.uint8)
    found = score_features(
        FeatureSet(codes, labels, None, np.arange(60), None, binary=True), re_ranking=True, top_k=5
    )
    # the squared distance of 0 and 1 is the Hamming distance
    expected = RerankedSimilarities(codes.astype(np.float64), feature_normed=False).of(slice(0, 60))
    np.fill_diagonal(expected, -np.inf)
    assert found.top_k is not None
    np.testing.assert_allclose(found.top_k.similarities, -np.sort(-expected)[:, :5], rtol=0, atol=1e-6)


def test_queries_that_seem_to_be_in_the_gallery_are_told(caplog: pytest.LogCaptureFixture) -> None:
    whole = features_of(random_set(40, 3))
    part = replace(whole, features=whole.features[:5].copy(), labels=whole.labels[:5], indices=np.arange(5))
    score_features(part, whole)
    assert "5 of 5 queries have exactly the vector of a gallery picture" in caplog.text
    caplog.clear()
    score_features(whole)
    score_features(features_of(random_set(40, 4)), whole)
    assert caplog.text == ""


def test_copies_of_a_query_under_another_name_are_told(caplog: pytest.LogCaptureFixture) -> None:
    whole = replace(features_of(random_set(40, 3)), paths=[f"{row}.jpg" for row in range(40)])
    files = {"itself": ["0.jpg", "1.jpg", "2.jpg"], "copies": ["0.jpg", "other.jpg", "another.jpg"]}
    for kind, paths in files.items():
        part = FeatureSet(whole.features[:3].copy(), whole.labels[:3], None, np.arange(3), paths)
        score_features(part, whole)
        told = "2 of 3 queries have exactly the vector of a gallery picture of another name" in caplog.text
        assert told == (kind == "copies")


def test_copies_within_one_set_are_told(caplog: pytest.LogCaptureFixture) -> None:
    whole = replace(features_of(random_set(40, 3)), paths=[f"{row}.jpg" for row in range(40)])
    score_features(whole)
    assert caplog.text == ""
    copied = whole.features.copy()
    copied[7] = copied[3]
    score_features(replace(whole, features=copied))
    assert "2 of 40 queries have exactly the vector of a gallery picture of another name" in caplog.text
    caplog.clear()
    score_features(replace(whole, features=np.ones_like(copied)))
    assert "the model tells few of these pictures apart" in caplog.text


def test_sets_that_say_nothing_are_told(caplog: pytest.LogCaptureFixture) -> None:
    features = np.eye(4)
    one_class = FeatureSet(features, np.full(4, 7), None, np.arange(4), list("abcd"))
    assert score_features(one_class).metrics["mAP"] == 1
    assert "figures are perfect whatever the features are" in caplog.text
    features[2] = 0
    score_features(replace(one_class, labels=np.array([7, 7, 8, 8])))
    assert "1 of 4 query features are zero (first: c)" in caplog.text


def test_the_nearest_of_a_table_follows_the_rule_for_ties() -> None:
    gallery = FeatureSet(np.eye(2)[[0, 0, 1]], np.array([7, 8, 8]), None, np.arange(3), list("abc"))
    query = FeatureSet(np.eye(2)[:1], np.array([7]), None, np.arange(1), ["q"])
    head, row = query_table(score_features(query, gallery, top_k=1))
    told = dict(zip(head, row, strict=True))
    assert (told["recall1"], told["first_hit_rank"], told["nearest_label"]) == (0.0, 2, "8")


def test_the_example_of_the_docstring() -> None:
    assert doctest.testmod(scoring, extraglobs={"np": np, "FeatureSet": FeatureSet}).failed == 0
