"""The loss on held-out images, and when its labels are classes of the training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from lookalike.data.dataset import ImageDataset
from lookalike.data.transforms import build_transforms
from lookalike.evaluation import evaluate, training_labels, with_labels_of_training
from lookalike.images import Records
from tests.evaluation.loaders import random_set


def test_mean_over_images_not_over_batches() -> None:
    loader = random_set(21)  # batches of 16 and 5

    def loss(outputs: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        assert len(outputs) == len(labels)
        return {"loss": outputs.mean()}

    found = evaluate(lambda images: images, loader, loss=loss).losses
    assert found == pytest.approx({"loss": float(loader.features.mean())}, rel=1e-5)


def records(labels: list[int], names: dict[int, str] | None = None) -> Records:
    paths = [f"{number}.png" for number in range(len(labels))]
    return Records(paths, np.array(labels, dtype=np.int64), class_names=names)


RELABELLED = records([0, 1, 2], {0: "3", 1: "8", 2: "5000"})
ANIMALS = records([0, 1, 2], {0: "cat", 1: "dog", 2: "horse"})


@pytest.mark.parametrize(
    ("training", "evaluation", "class_num", "expected"),
    [
        (records([0, 1, 2]), records([1, 2]), 3, {1: 1, 2: 2}),
        (records([0, 1, 2]), records([1, 2]), None, {1: 1, 2: 2}),
        (records([0, 1, 2]), records([1, 3]), 4, None),
        (records([0, 1, 2]), records([1, 2]), 2, None),
        (records([0, 1]), records([]), 2, None),
        # numbers that were renumbered in training
        (RELABELLED, records([0, 1, 2]), 3, None),
        (RELABELLED, records([8, 5000, 8]), 3, {8: 1, 5000: 2}),
        (RELABELLED, records([0, 1], {0: "3", 1: "5000"}), 3, {0: 0, 1: 2}),
        (records([3, 8, 5000]), records([0, 1], {0: "3", 1: "5000"}), None, {0: 3, 1: 5000}),
        (records([3, 8, 5000]), records([0, 1], {0: "3", 1: "5000"}), 5000, None),
        # folders, of which the evaluation holds some
        (ANIMALS, records([0, 1], {0: "cat", 1: "horse"}), 3, {0: 0, 1: 2}),
        (ANIMALS, records([0, 1], {0: "cat", 1: "mouse"}), 3, None),
        (ANIMALS, records([0, 1]), 3, None),
    ],
)
def test_training_labels(
    training: Records, evaluation: Records, class_num: int | None, expected: dict[int, int] | None
) -> None:
    assert training_labels(training, evaluation, class_num) == expected


def test_bare_numbers_of_two_lists_are_no_names() -> None:
    train, test = (replace(records([0, 1, 2]), origin=origin) for origin in ("train.txt", "test.txt"))
    assert training_labels(train, test, 3) is None
    assert training_labels(train, replace(test, origin="./train.txt"), 3) == {0: 0, 1: 1, 2: 2}
    named = replace(ANIMALS, origin="test.txt")
    assert training_labels(replace(ANIMALS, origin="train.txt"), named, 3) == {0: 0, 1: 1, 2: 2}


@pytest.mark.parametrize("names", [None, {0: "cat", 1: "dog"}])
def test_turned_classes_are_classes_of_their_own(names: dict[int, str] | None) -> None:
    plain = records([0, 1], names)
    turned = ImageDataset(plain, build_transforms([]), rotated_classes=True).records
    assert training_labels(turned, plain, 8) == {0: 0, 1: 1}
    assert training_labels(turned, turned, 8) == {label: label for label in range(8)}
    assert training_labels(turned, records([2, 3]), 8) is None, "2 and 3 are turned classes of training"
    assert training_labels(plain, turned, 8) is None


def test_a_loss_sees_the_labels_of_training() -> None:
    seen: list[list[int]] = []

    def loss(outputs: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        seen.append(labels.tolist())
        return {"loss": outputs.sum()}

    renumbered = with_labels_of_training(loss, {5000: 2, 3: 0, 8: 1})
    assert renumbered(torch.ones(3), torch.tensor([8, 5000, 3])) == {"loss": torch.tensor(3.0)}
    assert seen == [[1, 2, 0]]
