"""Tables of vectors as query and gallery: lengths, labels of two kinds, unknown labels, codes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lookalike.core.errors import UserError
from lookalike.evaluation import score_features
from lookalike.evaluation.feature_files import feature_sets, scaled
from lookalike.images.feature_table import FeatureTable
from lookalike.retrieval import evaluate_retrieval

VECTORS = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
LABELS = np.repeat([0, 1, 2], 4)


def test_vectors_are_scaled_once() -> None:
    unit = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)
    np.testing.assert_allclose(scaled(VECTORS), unit, atol=1e-7)
    assert scaled(unit) is unit
    assert scaled(VECTORS.astype(np.float64)).dtype == np.float64
    large = scaled(np.float32([[3e30, 4e30], [0, 0]]))  # their squares are beyond float32
    np.testing.assert_allclose(large, [[0.6, 0.8], [0, 0]], atol=1e-7)
    np.testing.assert_allclose(scaled((VECTORS * 100).astype(np.float16)), unit, atol=2e-3)
    query, gallery = feature_sets(FeatureTable(VECTORS, labels=LABELS), normalize=False)
    assert query is gallery
    assert query.features is VECTORS


def test_numbers_and_text_are_compared_as_text(caplog: pytest.LogCaptureFixture) -> None:
    query = FeatureTable(VECTORS[:4], labels=np.array([7, 7, 8, 8]))
    gallery = FeatureTable(VECTORS[4:], labels=np.array(["7", "8", "shoe"] + ["9"] * 5))
    found = score_features(*feature_sets(query, gallery))
    expected = score_features(*feature_sets(query, replace(gallery, labels=np.array([7, 8, 1, *[9] * 5]))))
    assert found.metrics == expected.metrics
    assert found.query_set.class_of(0) == "7"
    assert caplog.text.count("are compared as text") == 1


def test_a_picture_of_no_known_class_is_a_distractor() -> None:
    labels = np.array([0, 0, 0, -1, -1, 1, 1, 1, -1, 2, 2, 2])
    query, gallery = feature_sets(FeatureTable(VECTORS, labels=labels))
    found = score_features(query, gallery)
    assert found.queries_without_positive == 3
    each_alone = np.where(labels < 0, 100 + np.arange(12), labels)
    expected = evaluate_retrieval(
        query.features, each_alone, query.features, each_alone, metrics=["mAP"], exclude_self=True
    )
    assert found.metrics["mAP"] == expected["mAP"]
    with pytest.raises(UserError, match=r"v.npz says no labels"):
        feature_sets(FeatureTable(VECTORS, origin="v.npz"))


def test_codes_are_unpacked() -> None:
    codes = np.random.default_rng(1).integers(0, 2, (12, 20), dtype=np.uint8)
    table = FeatureTable(np.packbits(codes, axis=1), labels=LABELS, bits=20, origin="codes.npz")
    found = score_features(*feature_sets(table))
    expected = evaluate_retrieval(
        codes, LABELS, codes, LABELS, metrics=["mAP"], exclude_self=True, binary=True
    )
    assert found.metrics["mAP"] == expected["mAP"]
    with pytest.raises(UserError, match=r"codes.npz holds binary codes and v.npz does not"):
        feature_sets(FeatureTable(VECTORS, labels=LABELS, origin="v.npz"), table)
