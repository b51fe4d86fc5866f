"""What a model is tried on, or something is learned of: batches of pictures, and their features."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.core.errors import BrokenImage, UserError
from lookalike.core.log import logger
from lookalike.core.progress import track
from lookalike.images import Records

Encode = Callable[[NDArray[Any]], NDArray[np.float32]]

BATCH = 16


@dataclass(frozen=True)
class Pictures:
    """Preprocessed batches, and the records of the pictures in them, if known; `data` says what they are."""

    data: str
    batches: Callable[[], Iterator[NDArray[Any]]]
    records: Callable[[], Records | None] = lambda: None

    @classmethod
    def of_records(cls, records: Records, prepare: Callable[[str], NDArray[Any]], data: str) -> Pictures:
        """Pictures of a table; a broken one is left out and told."""
        broken: set[int] = set()

        def batches() -> Iterator[NDArray[Any]]:
            part: list[NDArray[Any]] = []
            size = 1  # the first batch is of one picture: a graph must not be made for one size
            for position, path in enumerate(records.paths):
                try:
                    picture = prepare(path)
                except BrokenImage as error:
                    logger.warning(f"left out: {error}")
                    broken.add(position)
                    continue
                if part and picture.shape != part[0].shape:
                    yield np.stack(part)
                    part, size = [], BATCH
                part.append(picture)
                if len(part) == size:
                    yield np.stack(part)
                    part, size = [], BATCH
            if part:
                yield np.stack(part)

        return cls(data, batches, lambda: records.subset([i for i in range(len(records)) if i not in broken]))

    @classmethod
    def of_noise(cls, batch: NDArray[Any], why: str) -> Pictures:
        """Pictures that show nothing, where there are no others."""
        return cls(f"noise, because {why}", lambda: iter([batch[:1], batch[1:]]))


def encoded(
    pictures: Pictures, encoders: Sequence[Encode], title: str | None = None
) -> list[NDArray[np.float32]]:
    """The features (N, D) that each encoder gives of the pictures, with a progress bar of that title.

    Raises UserError where not one of the pictures can be read.
    """
    batches = pictures.batches()
    if title is not None:
        batches = track(batches, title, unit="batches")
    found = [[encode(batch) for encode in encoders] for batch in batches]
    if not found:
        raise UserError(f"{pictures.data}: not one of these pictures could be read")
    return [np.concatenate(parts) for parts in zip(*found, strict=True)]
