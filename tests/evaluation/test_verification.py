"""Verification sets: the embedding with the mirror image, pairs by position, broken images, messages."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from lookalike.core.errors import UserError
from lookalike.evaluation import evaluate_pairs
from lookalike.images.records import Pairs
from lookalike.retrieval import fold_accuracy, pair_distances, true_accept_rate
from tests.evaluation.loaders import Vectors

IMAGES = 30


def faces() -> Vectors:
    """Images (3, 2, 4) of ten identities."""
    rng = np.random.default_rng(0)
    identities = rng.normal(size=(10, 3, 2, 4))
    labels = np.arange(IMAGES) % 10
    images = identities[labels] + 0.8 * rng.normal(size=(IMAGES, 3, 2, 4))
    return Vectors(images.astype(np.float32), labels, batch_size=8)


def pairs(data: Vectors, count: int, seed: int) -> Pairs:
    rng = np.random.default_rng(seed)
    left = rng.integers(0, IMAGES, count)
    right = np.where(rng.random(count) < 0.5, (left + 10) % IMAGES, (left + 3) % IMAGES)
    return Pairs(left, right, data.labels[left] == data.labels[right])


def encode(images: torch.Tensor) -> torch.Tensor:
    weights = torch.linspace(0.2, 2, images[0].numel())
    return images.flatten(1) * weights + 0.1 * images.flatten(1) ** 2


def test_figures_against_the_definition() -> None:
    data = faces()
    sets = {"lfw": pairs(data, 40, 1), "cfp_fp": pairs(data, 57, 2)}
    found = evaluate_pairs(encode, data, sets)
    images = torch.from_numpy(data.features)
    fused = (encode(images) + encode(images.flip(3))).numpy().astype(np.float64)
    fused /= np.linalg.norm(fused, axis=1, keepdims=True)
    expected = {}
    for name, each in sets.items():
        distances = pair_distances(fused[each.left], fused[each.right])
        expected[f"{name}_test_acc"] = fold_accuracy(distances, each.same).accuracy
        for rate in (0.01, 0.001):
            expected[f"{name}_tar@far={rate:g}"] = true_accept_rate(distances, each.same, rate)
        assert found.thresholds[name] == pytest.approx(fold_accuracy(distances, each.same).threshold)
    mean = (expected["lfw_test_acc"] + expected["cfp_fp_test_acc"]) / 2
    assert found.metrics == pytest.approx({"all_test_acc": mean, **expected})
    assert next(iter(found.metrics)) == "all_test_acc"
    assert 0.6 < mean < 1
    assert found.counts == "30 pictures, 40 pairs of lfw, 57 pairs of cfp_fp"
    assert found.to_dict()["pairs"] == {"lfw": 40, "cfp_fp": 57}


def test_a_model_of_several_outputs_and_padding() -> None:
    data = faces()
    sets = {"lfw": pairs(data, 40, 1)}
    padded = replace(data, order=np.concatenate([np.arange(IMAGES)[::-1], [0, 1]]))
    several = evaluate_pairs(lambda images: {"features": encode(images)}, padded, sets)
    assert several.metrics == evaluate_pairs(encode, data, sets).metrics


def test_pairs_with_a_broken_image_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    data = faces()
    each = pairs(data, 60, 1)
    whole = replace(data, order=np.arange(1, IMAGES), broken={"0.png": "missing"})
    gone = (each.left == 0) | (each.right == 0)
    assert gone.any()
    kept = Pairs(each.left[~gone], each.right[~gone], each.same[~gone])
    found = evaluate_pairs(encode, whole, {"lfw": each})
    assert found.metrics == evaluate_pairs(encode, data, {"lfw": kept}).metrics
    assert f"lfw: {gone.sum()} pairs have a broken image" in caplog.text
    assert str(found.broken[0]) == "0.png: missing"


def test_messages() -> None:
    data = faces()
    with pytest.raises(UserError, match="verification set lfw: 10 folds need as many pairs, got 9"):
        evaluate_pairs(encode, data, {"lfw": pairs(data, 9, 1)})
    one_kind = Pairs(np.arange(12), np.arange(12), np.ones(12, bool))
    with pytest.raises(UserError, match=r"verification set calfw: .*pairs of different ones"):
        evaluate_pairs(encode, data, {"calfw": one_kind})
    with pytest.raises(UserError, match="NaN"):
        evaluate_pairs(lambda images: encode(images) * float("nan"), data, {"lfw": pairs(data, 40, 1)})
