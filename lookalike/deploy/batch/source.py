"""What a source of pictures is.

A source lists its pictures one by one, in an order that is always the same, and reads none before somebody
asks for it: a listing may be walked through twice, and by several processes that take different parts of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Picture:
    """A file with a picture, and what its source says of it.

    name: what stands in the column `paths` of the vectors.
    """

    name: str
    label: str | None = None
    camera: int | None = None

    def read(self) -> str | bytes:
        """What a decoder takes: here the path, elsewhere the bytes. Raises BrokenImage."""
        return self.name


class Source(Protocol):
    """Pictures in a fixed order."""

    def listing(self) -> Iterator[Picture]:
        """All of them, without their bytes; it may be called again.

        Raises UserError where there is none, and where the source is damaged.
        """
        ...

    def pictures(self, parts: Sequence[range]) -> Iterator[Picture]:
        """Those at the positions of `parts`, which ascend and do not overlap."""
        ...

    def state(self) -> str:
        """Words that change when the source does, as far as its listing does not show it."""
        ...


def at_positions(listing: Iterator[Picture], parts: Sequence[range]) -> Iterator[Picture]:
    """The pictures of a listing at ascending ranges of positions; it is walked through once."""
    passed = 0
    for part in parts:
        yield from islice(listing, part.start - passed, part.stop - passed)
        passed = part.stop


def file_state(path: str) -> str:
    """Size and time of change of a file that holds many pictures."""
    stat = os.stat(path)  # noqa: PTH116 (a str already)
    return f"{stat.st_size} {stat.st_mtime_ns}"
