"""Pictures that follow each other and become rows of a table: one shard, or all there are."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.core.errors import BrokenImage
from lookalike.core.log import logger
from lookalike.deploy.batch.source import Picture
from lookalike.deploy.batch.survey import LabelKind
from lookalike.deploy.embedder import Embedder
from lookalike.images.feature_table import FeatureTable


class Chunk:
    """Pictures that follow each other, as they become rows of a table."""

    def __init__(self, model: Embedder, labels: LabelKind | None, cameras: bool) -> None:
        self.model, self.label_kind, self.with_cameras = model, labels, cameras
        self.seen: list[Picture] = []
        self.kept: list[int] = []
        self.broken: list[BrokenImage] = []
        self.vectors: list[NDArray[Any]] = []

    def embed(self, pictures: Iterable[Picture], batch_size: int, workers: int | None) -> Iterator[None]:
        """Compute the vectors of pictures; yields once for each picture that is done."""
        told = 0
        batches = self.model.stream(
            self._reads(pictures),
            batch_size=batch_size,
            workers=workers,
            on_broken=self._leave_out,
        )
        with contextlib.closing(batches):
            for positions, vectors in batches:
                self.kept += [int(position) for position in positions]
                self.vectors.append(vectors)
                done = len(self.kept) + len(self.broken)
                yield from itertools.repeat(None, done - told)
                told = done
        yield from itertools.repeat(None, len(self.kept) + len(self.broken) - told)

    def table(self) -> FeatureTable:
        """The rows of those pictures that could be read, in their order."""
        kept = [self.seen[position] for position in self.kept]
        model = self.model
        width = -(-model.size // 8) if model.binarize else model.size
        nothing = np.zeros((0, width), np.uint8 if model.binarize else np.float32)
        return FeatureTable(
            np.concatenate([nothing, *self.vectors]),
            [picture.name for picture in kept],
            self._labels(kept),
            np.array([picture.camera for picture in kept], np.int64) if self.with_cameras else None,
            model.size if model.binarize else None,
        )

    def _labels(self, kept: Sequence[Picture]) -> NDArray[Any] | None:
        if self.label_kind is None:
            return None
        named = [picture.label or "" for picture in kept]
        if self.label_kind == "numbers":
            return np.array([int(label) for label in named], np.int64)
        return np.array(named, dtype=str)

    def _reads(self, pictures: Iterable[Picture]) -> Iterator[Callable[[], str | bytes]]:
        """What reads each picture, to be called by whoever decodes it."""
        for picture in pictures:
            # without the bytes that it may hold
            self.seen.append(Picture(picture.name, picture.label, picture.camera))
            yield picture.read

    def _leave_out(self, position: int, error: BrokenImage) -> None:
        told = BrokenImage(self.seen[position].name, error.reason)  # bytes have no name of their own
        self.broken.append(told)
        logger.warning(f"left out: {told}")
