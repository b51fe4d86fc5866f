"""Class numbers that a loss has no class for, found without waiting for a GPU at every batch."""

from __future__ import annotations

import torch
from torch import Tensor

from lookalike.core.errors import UserError

BATCHES_BETWEEN_CHECKS = 20
"""How often labels on a GPU are looked at."""


class LabelRange:
    """Checks that labels are 0 .. classes - 1.

    `reader` is the loss, `classes_of` what has the classes, `key` what a recipe says to raise their number.
    """

    def __init__(self, reader: str, classes_of: str, key: str) -> None:
        self.reader = reader
        self.classes_of = classes_of
        self.key = key
        self._batches = 0
        self._seen: tuple[Tensor, Tensor] | None = None

    def within(self, labels: Tensor, classes: int) -> Tensor:
        """The labels (N,), known to be class numbers. Raises UserError for one that is not.

        Looking at values on a GPU waits for all work that is queued, so there it is done every 20th batch for
        all since; until then a wrong label counts as the nearest class, where the kernel would end the
        process.
        """
        if not labels.numel():
            return labels
        lowest, highest = torch.aminmax(labels)
        if not labels.is_cpu:
            if self._seen is not None:
                lowest, highest = torch.minimum(lowest, self._seen[0]), torch.maximum(highest, self._seen[1])
            self._seen = lowest, highest
            self._batches += 1
            if self._batches % BATCHES_BETWEEN_CHECKS != 1:
                return labels.clamp(0, classes - 1)
            self._seen = None
        if int(lowest) < 0:
            raise UserError(
                f"{self.reader}: a label is {int(lowest)}, but class numbers start at 0: set relabel: True"
            )
        if int(highest) >= classes:
            raise UserError(
                f"{self.reader}: a label is {int(highest)}, but {self.classes_of} has {classes} classes, 0 "
                f"to {classes - 1}: raise {self.key} to at least {int(highest) + 1} or set relabel: True"
            )
        return labels
