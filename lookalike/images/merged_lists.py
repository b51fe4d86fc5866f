"""Several list files as one training list, as PP-ShiTu V2 was trained on seventeen sets."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from lookalike.core.errors import UserError
from lookalike.core.progress import track
from lookalike.images.list_files import Columns, numbered_lines, read_list
from lookalike.images.standard_sets.listing import Listing, Row, write_lines


@dataclass(frozen=True)
class Part:
    """One list within the merged one. first, last: the positions of its classes, both included, as
    `PKSampler.id_list` takes them; the labels are these positions.
    """

    file: str
    images: int
    classes: int
    first: int
    last: int


@dataclass(frozen=True)
class Merged:
    """A merged list. class_num: what the head needs. repeated: images that stand in it more than once."""

    out: str
    image_root: str
    parts: list[Part]
    images: int
    class_num: int
    repeated: int
    first_repeated: str | None

    def to_dict(self) -> dict[str, object]:
        return {**asdict(self), "id_list": {part.file: [part.first, part.last] for part in self.parts}}

    def text(self) -> str:
        lines = [
            f"{part.file}: {part.images} images of {part.classes} classes, "
            f"id_list [{part.first}, {part.last}]"
            for part in self.parts
        ]
        lines.append(
            f"{self.out}: {self.images} images, class_num {self.class_num}, image_root {self.image_root}"
        )
        if self.repeated:
            lines.append(
                f"{self.repeated} images stand in it more than once, the first is {self.first_repeated}"
            )
        return "\n".join(lines)


def merge_lists(
    files: Sequence[str | Path],
    out: str | Path,
    root: str | Path | None = None,
    image_roots: Sequence[str | Path] | None = None,
) -> Merged:
    """Join list files `path label …` into one, `path label`, whose classes are all different.

    Classes are numbered in the order in which they first appear, list after list: a label is the position
    that `PKSampler.id_list` means. A list may be separated by tabs, commas or blanks; columns after the label
    are dropped. image_roots: the folder of the paths of each list, by default the folder it lies in. root:
    the image_root of the merged list, by default the folder of `out`.

    Raises UserError for a list that cannot be read, and for an image outside `root`.
    """
    if image_roots is not None and len(image_roots) != len(files):
        raise UserError(
            f"{len(image_roots)} image roots for {len(files)} lists: give one for each list, in their order"
        )
    if any(Path(file).resolve() == Path(out).resolve() for file in files):
        raise UserError(f"{out} is one of the lists to merge: write the merged list to another file")
    top = Path(out).parent if root is None else Path(root)
    above = os.path.join(os.path.abspath(top), "")  # noqa: PTH100, PTH118
    paths: list[str] = []
    labels: list[np.ndarray] = []
    parts: list[Part] = []
    offset = 0
    for index, file in enumerate(track(files, "merging", len(files), "lists")):
        own_root = Path(file).parent if image_roots is None else image_roots[index]
        columns = _columns(file, own_root)
        distinct, first, inverse = np.unique(columns.labels, return_index=True, return_inverse=True)
        rank = np.empty(len(distinct), np.int64)
        rank[np.argsort(first)] = np.arange(len(distinct))
        labels.append(rank[inverse.reshape(-1)] + offset)
        paths += [
            _below(above, path, file, line) for path, line in zip(columns.paths, columns.lines, strict=True)
        ]
        parts.append(Part(str(file), len(inverse), len(distinct), offset, offset + len(distinct) - 1))
        offset += len(distinct)
    numbers = np.concatenate(labels).tolist()
    merged = Listing([Row(path, label) for path, label in zip(paths, numbers, strict=True)])
    write_lines(Path(out), merged.lines, force=True)
    repeated = [path for path, times in Counter(paths).items() if times > 1]
    return Merged(
        str(out), str(top), parts, len(paths), offset, len(repeated), repeated[0] if repeated else None
    )


def _columns(file: str | Path, image_root: str | Path) -> Columns:
    """A list whose delimiter its first line shows."""
    first = next(numbered_lines(file), (0, ""))[1]
    return read_list(file, image_root, next((mark for mark in ("\t", " ", ",") if mark in first), " "))


def _below(top: str, path: str, file: str | Path, line: int) -> str:
    """The path of an image below the common root; symbolic links stay as they are."""
    full = os.path.abspath(path)  # noqa: PTH100
    if not full.startswith(top):
        raise UserError(
            f"{file}:{line}: {path} does not lie in {top}: give a --root that holds the images of all lists"
        )
    return full[len(top) :].replace(os.sep, "/")
