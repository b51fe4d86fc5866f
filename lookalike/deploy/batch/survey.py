"""One walk through all sources before the work: how many pictures there are, and a digest of them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from lookalike.core.errors import UserError
from lookalike.core.files import check_text
from lookalike.core.log import warn_once
from lookalike.core.progress import track
from lookalike.deploy.batch.source import Picture, Source

LabelKind = Literal["numbers", "text"]
_REMEMBERED = 1_000_000
"""Names that are compared with later ones; they take about 75 MB."""
_NUMBER = re.compile(r"-?[0-9]{1,18}")


@dataclass(frozen=True)
class Survey:
    """Sources, how many pictures each has, and what is alike in all of them.

    labels: what their column holds, None where no picture has one. digest: of the names, labels and cameras
    in their order, and of the state of tar and Parquet files; not of the contents of pictures in files of
    their own.
    """

    sources: Sequence[Source]
    counts: Sequence[int]
    labels: LabelKind | None
    cameras: bool
    digest: str

    @property
    def total(self) -> int:
        return sum(self.counts)

    def pictures(self, parts: Sequence[range]) -> Iterator[Picture]:
        """The pictures at ascending ranges of positions in all sources, one after the other."""
        first = 0
        for source, count in zip(self.sources, self.counts, strict=True):
            own = [
                range(max(part.start - first, 0), min(part.stop - first, count))
                for part in parts
                if part.start < first + count and part.stop > first
            ]
            if own:
                yield from source.pictures(own)
            first += count


def survey(sources: Sequence[Source]) -> Survey:
    """Walk through the listings of all sources; a warning tells of names that come again.

    What it keeps of them grows with the classes, and up to `_REMEMBERED` with the pictures; while it walks
    through a tar file, the keys of that one are in memory too (about 130 bytes each), as they are when its
    pictures are read.

    Raises UserError where a listing does, for a name that is not UTF-8, and where only some of the sources
    say labels or cameras.
    """
    digest = hashlib.sha256()
    counts: list[int] = []
    labels = _Labels()
    with_camera = 0
    again = _Again()
    for picture in track(_listed(sources, counts, digest), "list", unit="pictures"):
        check_text(picture.name)
        digest.update(repr((picture.name, picture.label, picture.camera)).encode())
        labels.add(picture.label)
        again.add(picture.name)
        with_camera += picture.camera is not None
    total = sum(counts)
    for some, what in ((labels.count, "label"), (with_camera, "camera")):
        if some not in (0, total):
            raise UserError(
                f"{some} of the {total} pictures have a {what} and the others have none: embed them apart"
            )
    again.warn(total)
    return Survey(sources, counts, labels.kind(), bool(with_camera), digest.hexdigest())


def _listed(sources: Sequence[Source], counts: list[int], digest: hashlib._Hash) -> Iterator[Picture]:
    for source in sources:
        counts.append(0)
        for picture in source.listing():
            counts[-1] += 1
            yield picture
        digest.update(repr((counts[-1], source.state())).encode())


class _Again:
    """How many pictures have the name of one before them."""

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._count, self._first = 0, ""

    def add(self, name: str) -> None:
        name_hash = hash(name)
        if name_hash in self._seen:
            self._count += 1
            self._first = self._first or name
        elif len(self._seen) < _REMEMBERED:
            self._seen.add(name_hash)

    def warn(self, total: int) -> None:
        if self._count:
            least = "at least " if len(self._seen) == _REMEMBERED else ""
            warn_once(
                f"{least}{self._count} of the {total} pictures are named again, the first: {self._first}; "
                "each is embedded as often as it is named"
            )


class _Labels:
    """Whether labels can be written as whole numbers, as `numbers_or_text` decides."""

    def __init__(self) -> None:
        self.count = 0
        self._distinct: set[str] = set()
        self._numbers = True

    def add(self, label: str | None) -> None:
        if label is None:
            return
        self.count += 1
        if self._numbers and label not in self._distinct:
            self._distinct.add(label)
            self._numbers = _NUMBER.fullmatch(label) is not None

    def kind(self) -> LabelKind | None:
        if not self.count:
            return None
        if not self._numbers:
            return "text"
        joins = len({int(label) for label in self._distinct}) < len(self._distinct)  # 7 and 007
        return "text" if joins else "numbers"
