"""The loss on held-out images, and when its labels are classes of the training."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lookalike.evaluation import evaluate_loss, labels_are_training_classes
from tests.evaluation.loaders import random_set


def test_mean_over_images_not_over_batches() -> None:
    loader = random_set(21)  # batches of 16 and 5

    def loss(outputs: dict[str, torch.Tensor], labels: torch.Tensor) -> dict[str, torch.Tensor]:
        assert torch.equal(outputs["labels"], labels)
        return {"loss": outputs["features"].mean()}

    found = evaluate_loss(lambda images, labels: {"features": images, "labels": labels}, loader, loss)
    assert found == pytest.approx({"loss": float(loader.features.mean())}, rel=1e-5)


def records(labels: list[int], names: dict[int, str] | None = None) -> SimpleNamespace:
    return SimpleNamespace(labels=np.array(labels, dtype=np.int64), class_names=names)


@pytest.mark.parametrize(
    ("train", "evaluation", "class_num", "expected"),
    [
        (records([0, 1, 2]), records([1, 2]), 3, True),
        (records([0, 1, 2]), records([1, 2]), None, True),
        (records([0, 1, 2]), records([1, 3]), 4, False),
        (records([0, 1, 2]), records([1, 2]), 2, False),
        (records([0, 1]), records([]), 2, False),
        (records([0, 1], {0: "cat", 1: "dog"}), records([0], {0: "cat"}), 2, True),
        (records([0, 1], {0: "cat", 1: "dog"}), records([0], {0: "horse"}), 2, False),
    ],
)
def test_labels_are_training_classes(train, evaluation, class_num, expected) -> None:  # type: ignore[no-untyped-def]
    assert labels_are_training_classes(train, evaluation, class_num) is expected
