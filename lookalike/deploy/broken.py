"""What becomes of a picture that cannot be decoded."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Literal

from numpy.typing import NDArray

from lookalike.core.errors import BrokenImage, UserError
from lookalike.core.log import logger

Told = Callable[[int, BrokenImage], None]
"""Told of a broken picture, by its position; the picture is left out."""

OnBroken = Literal["raise", "skip"] | Told
"""raise: BrokenImage. skip: it is left out with a warning. Else what is told of it."""

Parts = Generator[tuple[NDArray[Any], NDArray[Any]], None, None]


class Skipped:
    """Warns of each broken picture, and in the end of how many there were."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, position: int, error: BrokenImage) -> None:
        self.count += 1
        logger.warning(f"left out: picture {position}: {error}")

    def counted(self, parts: Parts) -> Parts:
        """The same positions and vectors; the warning comes behind the last of them."""
        whole = 0
        try:
            for positions, vectors in parts:
                whole += len(positions)
                yield positions, vectors
        finally:
            parts.close()
            if self.count:
                logger.warning(f"{self.count} of {self.count + whole} pictures are broken and were left out")


def told_of(on_broken: OnBroken) -> Told | None:
    """What is told of broken pictures; None where they raise. Raises UserError for another word."""
    if on_broken == "raise":
        return None
    if on_broken == "skip":
        return Skipped()
    if callable(on_broken):
        return on_broken
    raise UserError(f"on_broken must be 'raise', 'skip' or a function, and is {on_broken!r}")
