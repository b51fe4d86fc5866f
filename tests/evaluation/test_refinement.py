"""Whitening, augmentation and expansion between the features and their search."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lookalike.core.errors import UserError
from lookalike.evaluation.feature_set import FeatureSet
from lookalike.evaluation.refinement import Refinement
from lookalike.evaluation.scoring import score_features
from lookalike.retrieval import Whitening, augment_database, evaluate_retrieval, expand_queries


def unit(count: int, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    centres = np.random.default_rng(9).normal(size=(8, 6))
    rows = centres[np.arange(count) % 8] * [4, 2, 1, 1, 1, 1] + generator.normal(size=(count, 6))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def set_of(count: int, seed: int) -> FeatureSet:
    return FeatureSet(unit(count, seed), np.arange(count) % 8, None, np.arange(count), None)


def test_steps_come_in_their_order() -> None:
    query, gallery, whitening = set_of(16, 1), set_of(48, 2), Whitening.learn(unit(200, 3))
    found = score_features(query, gallery, refinement=Refinement(whitening, 3, 2))
    items = augment_database(whitening.apply(gallery.features), 3, alpha=3.0)
    asked = expand_queries(whitening.apply(query.features), items, 2, alpha=3.0)
    expected = evaluate_retrieval(asked, query.labels, items, gallery.labels, metrics=["mAP"])
    assert found.metrics["mAP"] == expected["mAP"]
    assert found.metrics["mAP"] != score_features(query, gallery).metrics["mAP"]


def test_one_set_stays_one_set() -> None:
    whole = set_of(48, 2)
    query, gallery = Refinement(database_augmentation=3)(whole, whole)
    assert query is gallery
    np.testing.assert_array_equal(query.features, augment_database(whole.features, 3, alpha=3.0))
    assert Refinement()(whole, whole) == (whole, whole)


def test_what_cannot_be_refined() -> None:
    whole = set_of(48, 2)
    codes = replace(whole, features=np.sign(whole.features), binary=True)
    with pytest.raises(UserError, match="neither whitened nor expanded"):
        Refinement(database_augmentation=1)(codes, codes)
    with pytest.raises(UserError, match="each query would find itself"):
        Refinement(query_expansion=1)(whole, whole)
    named = replace(whole, paths=[f"{row}.jpg" for row in range(48)])
    part = replace(named, features=named.features[:8], labels=named.labels[:8], paths=named.paths[:8])
    with pytest.raises(UserError, match="without the pictures of the queries"):
        score_features(part, named, refinement=Refinement(query_expansion=1))
    longer = replace(whole, features=2 * whole.features)
    with pytest.raises(UserError, match="not of length 1"):
        Refinement(database_augmentation=1)(longer, longer)
    with pytest.raises(UserError, match="6 dimensions and the whitening was learned from 5"):
        Refinement(Whitening.learn(unit(200, 3)[:, :5]))(whole, whole)
