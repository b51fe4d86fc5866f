"""The loss on held-out images, where that means anything.

Their labels must be classes the head was trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from lookalike.core.progress import track
from lookalike.evaluation.gather import broadcast_json, gather_json, together
from lookalike.evaluation.loader import EvaluationLoader

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


def evaluate_loss(
    forward: Callable[[torch.Tensor, torch.Tensor], Any], loader: EvaluationLoader, loss: Loss
) -> dict[str, float]:
    """Means of the losses over all images of a loader, on every process.

    forward(images, labels) gives what the loss takes. Losses that compare the images of a batch depend on
    how the loader cuts batches; images that pad the last batch of a process count twice.
    """
    means = LossMeans()
    with together(), torch.no_grad():
        for batch in track(loader, "loss", total=len(loader), unit="batches"):
            labels = batch["label"]
            means.add(loss, forward(batch["image"], labels), labels)
    states = gather_json(means.state())
    merged: dict[str, float] = broadcast_json(None if states is None else LossMeans.merge(states))
    return merged


def labels_are_training_classes(train: Any, evaluation: Any, class_num: int | None = None) -> bool:
    """Whether the labels of evaluation records are classes of the training, so that its loss can be computed.

    True when every label of the evaluation occurs in training, is below `class_num` where that is given,
    and, where both records name their classes, has the same name in both. Open-set evaluation, the usual
    case in metric
    learning, has other classes: then the loss means nothing and is not computed. Lists that were
    relabelled each for itself and carry no class names cannot be told apart from shared classes.
    """
    labels = {int(label) for label in evaluation.labels}
    if not labels or not labels <= {int(label) for label in train.labels}:
        return False
    if class_num is not None and max(labels) >= class_num:
        return False
    here, there = train.class_names, evaluation.class_names
    return not (here and there) or all(here.get(label) == there.get(label) for label in labels)
