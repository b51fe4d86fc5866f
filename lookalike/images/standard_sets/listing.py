"""What a reader makes of a download: the lines of one list file, before it is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from lookalike.core.errors import UserError
from lookalike.core.files import atomic_file
from lookalike.images.records import Records, number_classes


class Row(NamedTuple):
    """An image: path below the image root, label, and a camera or the number of the image."""

    path: str
    label: int
    third: int | None = None


class Crop(NamedTuple):
    """The part of a picture that becomes an image of its own: left, top, right, bottom in pixels."""

    picture: Path
    box: tuple[int, int, int, int]


@dataclass(frozen=True)
class Listing:
    """The rows of one list file.

    image_root: the folder below the download that their paths are relative to, '' for the download itself.
    class_names: what the labels stand for, where that has names. crops: a row's image is cut from a picture.
    published: the download's own list says the same; where it lies in its place already, it stays as it is.
    """

    rows: Sequence[Row]
    image_root: str = ""
    delimiter: str = " "
    class_names: dict[int, str] | None = None
    crops: Sequence[Crop] | None = None
    published: bool = False

    @property
    def classes(self) -> int:
        return len({row.label for row in self.rows})

    def lines(self) -> Iterator[str]:
        """The lines of the file, as ImageNetDataset, VeriWild or ICartoonDataset reads them.

        Raises UserError for a path that could not be read back.
        """
        for path, label, third in self.rows:
            if any(mark in path for mark in ("\t", "\n", "\r", "  ")) or path != path.strip():
                raise UserError(f"the path {path!r} cannot stand in a list file: rename the image")
            fields = [path, str(label)] if third is None else [path, str(label), str(third)]
            yield self.delimiter.join(fields) + "\n"


def write_lines(file: Path, lines: Callable[[], Iterable[str]], force: bool = False) -> None:
    """Write a text file. One that is there already must say the same, unless `force`."""
    if file.exists() and not force:
        if not _says(file, lines()):
            raise UserError(f"{file} is there already and says something else: --force writes over it")
        return
    with atomic_file(file, "w") as opened:
        opened.writelines(lines())


def _says(file: Path, lines: Iterable[str]) -> bool:
    try:
        with open(file, encoding="utf-8", newline="") as opened:
            return all(one == other for one, other in zip_longest(opened, lines))
    except (OSError, UnicodeDecodeError):
        return False


def named_listings(
    parts: Mapping[str, Iterable[tuple[str, str]]], image_root: str = "", instances: bool = False
) -> dict[str, Listing]:
    """Listings from (path, class name) pairs; a name has the same label in all of them.

    instances: each row gets the number of the image, so that a list can be query and gallery at once.
    """
    lists = {file: list(pairs) for file, pairs in parts.items()}
    names = [name for pairs in lists.values() for _, name in pairs]
    _, class_names = number_classes(names)
    number = {name: label for label, name in class_names.items()}
    made, count = {}, 0
    for file, pairs in lists.items():
        rows = [
            Row(path, number[name], count + index if instances else None)
            for index, (path, name) in enumerate(pairs, 1)
        ]
        count += len(rows)
        made[file] = Listing(rows, image_root, class_names=class_names)
    return made


def listing_of(records: Records, root: Path) -> Listing:
    """The listing of records that were read from below `root`."""
    cameras = [None] * len(records) if records.cameras is None else records.cameras.tolist()
    rows = [
        Row(Path(path).relative_to(root).as_posix(), label, camera)
        for path, label, camera in zip(records.paths, records.labels.tolist(), cameras, strict=True)
    ]
    return Listing(rows, class_names=records.class_names)
