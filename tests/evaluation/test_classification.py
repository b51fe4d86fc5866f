"""Accuracies of class scores against a loop, and what can be wrong with them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from lookalike.core.errors import UserError
from lookalike.evaluation import build_accuracies, evaluate_classes
from tests.evaluation.loaders import Vectors

CLASSES = 7


def scored(count: int = 40, seed: int = 0, **more: object) -> Vectors:
    """Images that are class scores, with ties among them."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 6, (count, CLASSES)).astype(np.float32)
    return Vectors(scores, rng.integers(0, CLASSES, count), **more)  # type: ignore[arg-type]


def as_logits(images: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"features": images[:, :2], "logits": images}


def naive(data: Vectors, k: int) -> float:
    hits = 0
    for scores, label in zip(data.features, data.labels, strict=True):
        better = sum(scores[c] >= scores[label] for c in range(CLASSES) if c != label)
        hits += better < k
    return hits / len(data.labels)


def test_accuracies_against_a_loop() -> None:
    data = scored()
    found = evaluate_classes(as_logits, data, build_accuracies([{"TopkAcc": {"topk": [1, 3, 50]}}]))
    assert list(found.metrics) == ["top1", "top3", "top50"]
    assert found.metrics == {"top1": naive(data, 1), "top3": naive(data, 3), "top50": 1.0}
    assert 0 < found.metrics["top1"] < found.metrics["top3"] < 1
    assert (found.images, found.counts) == (40, "40 pictures")
    assert found.to_dict()["metrics"] == found.metrics
    assert "pairs" not in found.to_dict()


def test_constant_scores_are_no_knowledge() -> None:
    data = Vectors(np.zeros((10, 4), np.float32), np.arange(10) % 4)
    assert evaluate_classes(as_logits, data, build_accuracies()).metrics == {"top1": 0.0, "top5": 1.0}


def test_padding_is_counted_once_and_batches_are_filled() -> None:
    data = scored(21)
    padded = replace(data, order=np.concatenate([np.arange(21), [0, 1, 2]]), batch_size=6)
    sizes = []

    def counting(images: torch.Tensor) -> dict[str, torch.Tensor]:
        sizes.append(len(images))
        return as_logits(images)

    found = evaluate_classes(counting, padded, build_accuracies())
    assert found.metrics == evaluate_classes(as_logits, data, build_accuracies()).metrics
    assert set(sizes) == {6}
    short = replace(data, batch_size=6)
    sizes.clear()
    assert evaluate_classes(counting, short, build_accuracies()).metrics == found.metrics
    assert set(sizes) == {6}


def test_one_of_several_models() -> None:
    data = scored()

    def both(images: torch.Tensor) -> dict[str, dict[str, torch.Tensor]]:
        return {"Student": {"logits": images}, "Teacher": {"logits": images.flip(1)}}

    listed = [{"DistillationTopkAcc": {"model_key": name, "topk": [1]}} for name in ("Student", "Teacher")]
    found = evaluate_classes(both, data, build_accuracies(listed)).metrics
    mirrored = replace(data, features=data.features[:, ::-1].copy())
    assert found == {"top1": naive(data, 1), "Teacher_top1": naive(mirrored, 1)}
    with pytest.raises(UserError, match=r"no 'logits' .*Student, Teacher.*DistillationTopkAcc"):
        evaluate_classes(both, data, build_accuracies())
    bare = build_accuracies([{"DistillationTopkAcc": {"model_key": "Student", "feature_key": None}}])
    with pytest.raises(UserError, match="holds the outputs logits: name one with feature_key"):
        evaluate_classes(both, data, bare)


def test_labels_that_stand_for_other_classes() -> None:
    data = scored()
    shifted = replace(data, labels=data.labels + 100)
    class_of = {label + 100: label for label in range(CLASSES)}
    found = evaluate_classes(as_logits, shifted, build_accuracies(), class_of=class_of)
    assert found.metrics == evaluate_classes(as_logits, data, build_accuracies()).metrics


def test_losses_are_means_over_images() -> None:
    data = scored(21, batch_size=4)

    def loss(outputs: dict[str, torch.Tensor], classes: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": torch.nn.functional.cross_entropy(outputs["logits"], classes)}

    found = evaluate_classes(as_logits, data, build_accuracies(), loss=loss)
    whole = loss({"logits": torch.from_numpy(data.features)}, torch.from_numpy(data.labels))["loss"]
    assert found.losses["loss"] == pytest.approx(float(whole), rel=1e-6)


def test_messages() -> None:
    data, metrics = scored(), build_accuracies()
    with pytest.raises(UserError, match="has label 9, but the model scores 7 classes"):
        evaluate_classes(as_logits, replace(data, labels=data.labels + 3), metrics)
    with pytest.raises(UserError, match="gives NaN for class scores"):
        evaluate_classes(lambda images: {"logits": images * float("nan")}, data, metrics)
    with pytest.raises(UserError, match=r"no 'logits' \(it gives: features\): .*Arch.Head"):
        evaluate_classes(lambda images: {"features": images}, data, metrics)
    empty = replace(data, order=np.arange(0), broken={"a.png": "the file is empty"})
    with pytest.raises(UserError, match=r"empty: all 1 images are broken, the first: a.png"):
        evaluate_classes(as_logits, empty, metrics)
