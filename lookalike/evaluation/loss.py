"""The loss on held-out images, where that means anything.

Their labels must be classes the head was trained on.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch

from lookalike.images import Records

Loss = Callable[[Any, torch.Tensor], Mapping[str, torch.Tensor]]
"""(outputs of the model, labels (N,)) -> one scalar for each loss, such as {"CELoss": …, "loss": …}."""


class LossMeans:
    """Means over images of losses that are themselves means over a batch."""

    def __init__(self) -> None:
        self._count = 0
        self._sums: dict[str, float] = {}

    def add(self, loss: Loss, outputs: Any, labels: torch.Tensor) -> None:
        """Compute the losses of a batch and add them with the size of the batch as weight."""
        self._count += len(labels)
        for name, value in loss(outputs, labels).items():
            self._sums[name] = self._sums.get(name, 0.0) + float(value) * len(labels)

    def state(self) -> dict[str, Any]:
        """Sums and count as JSON, to be merged with those of other processes."""
        return {"count": self._count, "sums": self._sums}

    @staticmethod
    def merge(states: Iterable[Mapping[str, Any]]) -> dict[str, float]:
        """The means over the images of all processes."""
        count, sums = 0, dict[str, float]()
        for state in states:
            count += state["count"]
            for name, value in state["sums"].items():
                sums[name] = sums.get(name, 0.0) + value
        return {name: value / count for name, value in sums.items()}


def training_labels(
    training: Records, evaluation: Records, class_num: int | None = None
) -> dict[int, int] | None:
    """The label in training of each label of an evaluation, None where some class was not trained on.

    Classes are compared by name, which is the number of a class that has no other name: sets that were
    numbered each on its own (folders, `relabel: True`) share a class where they share its name. Labels from
    `class_num` on count as not trained on, since the head has no output for them.

    Bare numbers name a class within their own list only: where neither set has names, both must come from one
    file. Two lists that each count from 0 would else look alike, and the loss be that of wrong classes; the
    reference computes none for a search.

    Open-set evaluation, the usual case in metric learning, has other classes: then a loss means nothing.
    """
    bare = training.class_names is None and evaluation.class_names is None
    if bare and os.path.realpath(training.origin) != os.path.realpath(evaluation.origin):
        return None
    known = {training.name_of(label): label for label in np.unique(training.labels).tolist()}
    mapping = {label: known.get(evaluation.name_of(label)) for label in np.unique(evaluation.labels).tolist()}
    found = {label: there for label, there in mapping.items() if there is not None}
    if not found or len(found) < len(mapping):
        return None
    if class_num is not None and max(found.values()) >= class_num:
        return None
    return found


def with_labels_of_training(loss: Loss, mapping: Mapping[int, int]) -> Loss:
    """A loss that is given labels of an evaluation and computed with those of training."""
    labels = sorted(mapping)
    here = torch.tensor(labels)
    there = torch.tensor([mapping[label] for label in labels])

    def renumbered(outputs: Any, given: torch.Tensor) -> Mapping[str, torch.Tensor]:
        places = torch.searchsorted(here.to(given.device), given.contiguous())
        return loss(outputs, there.to(given.device)[places])

    return renumbered
