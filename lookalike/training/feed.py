"""The batches of an epoch, however many the loader has in one of its own."""

from __future__ import annotations

from collections.abc import Iterator

from lookalike.core.errors import LookalikeError
from lookalike.data import Loader
from lookalike.data.loader import Batch

ROUND = 1_000_000
"""The number of an epoch in the loader is that of the run plus this for each time it began again."""


class Feed:
    """The batches of one loader, epoch after epoch.

    With `endless` a loader that is exhausted begins again, in another order and with other augmentations, so
    that an epoch may have more batches than the loader; the reader stops where it wants to. `position` counts
    the batches of the epoch that are done with, wholly broken ones included: what a checkpoint has to keep.
    """

    def __init__(self, loader: Loader, endless: bool = False) -> None:
        self.loader, self.endless = loader, endless
        self._before = 0  # batches of the rounds that are over

    @property
    def position(self) -> int:
        return self._before + self.loader.batches_done

    def batches(self, epoch: int, skip: int = 0) -> Iterator[Batch]:
        """The batches of an epoch after the first `skip`: what an uninterrupted epoch would have given then.

        Raises LookalikeError where an endless loader has not one whole picture.
        """
        self._before = self.loader.batches_done = 0
        number = 0
        while True:
            self.loader.set_epoch(epoch + number * ROUND)
            length = len(self.loader)
            if not self.endless or skip < length:
                self.loader.set_epoch(epoch + number * ROUND, skip_batches=skip)
                skip, empty = 0, True
                for batch in self.loader:
                    empty = False
                    yield batch
                if not self.endless:
                    return
                if empty and not self.loader.batches_done:
                    raise LookalikeError("the training set has not one batch of whole pictures")
            skip = max(skip - length, 0)
            self._before += length
            self.loader.batches_done = 0
            number += 1
