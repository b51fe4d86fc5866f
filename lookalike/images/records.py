"""A table of labelled images. Every format of label files becomes this table, and nothing below it knows
the formats.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lookalike.core.errors import UserError
from lookalike.core.files import atomic_file

IMAGE_SUFFIXES = (
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".avif", ".jp2",
     ".ppm", ".pgm", ".pbm")
)  # fmt: skip
"""Suffixes, in lower case, that a file in a folder of images must have to be taken for one."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of images of a table and whether both show the same identity: left, right (P,) int64 positions,
    same (P,) bool.
    """

    left: np.ndarray
    right: np.ndarray
    same: np.ndarray

    def __len__(self) -> int:
        return len(self.same)


@dataclass(frozen=True, eq=False)
class Records:
    """Labelled images of one list file, table or folder.

    paths: joined with the root folder. labels: (N,) int64, never negative. cameras: (N,) int64 or None; a
    camera, or an instance id. origin: the file or folder they were read from. lines: the line of `origin` of
    each record, None for a folder. class_names: the name of each label, where the source gave names or labels
    were renumbered. boxes: (N, 4) int64 or None; the part of each picture that counts, as left, top, right,
    bottom. pairs: verification sets by name, for images that are compared in pairs; labels are 0 then.
    """

    paths: list[str]
    labels: np.ndarray
    cameras: np.ndarray | None = None
    origin: str = ""
    lines: Sequence[int] | None = None
    class_names: dict[int, str] | None = None
    boxes: np.ndarray | None = None
    pairs: Mapping[str, Pairs] | None = None

    def __post_init__(self) -> None:
        columns = {"labels": self.labels, "cameras": self.cameras, "lines": self.lines, "boxes": self.boxes}
        for name, column in columns.items():
            if column is not None and len(column) != len(self.paths):
                raise ValueError(f"{len(self.paths)} paths but {len(column)} {name}")

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def num_classes(self) -> int:
        """How many different labels there are. A classifier needs `labels.max() + 1` outputs, which may be
        more.
        """
        return len(np.unique(self.labels))

    def where(self, index: int) -> str:
        """`file:line` of a record, for messages; the image's own path where it came from a folder."""
        if self.lines is None:
            return self.paths[index]
        return f"{self.origin}:{self.lines[index]}"

    def name_of(self, label: int) -> str:
        """The name of a class, or its number where it has no name."""
        return (self.class_names or {}).get(int(label), str(int(label)))

    def subset(self, indices: Sequence[int] | np.ndarray) -> Records:
        """The records at these positions, in this order. Labels keep their numbers; pairs are left out."""
        chosen = np.asarray(indices, dtype=np.int64).reshape(-1)
        return replace(
            self,
            paths=[self.paths[i] for i in chosen.tolist()],
            labels=self.labels[chosen],
            cameras=None if self.cameras is None else self.cameras[chosen],
            lines=None if self.lines is None else [self.lines[i] for i in chosen.tolist()],
            boxes=None if self.boxes is None else self.boxes[chosen],
            pairs=None,
        )


def number_classes(names: Sequence[str]) -> tuple[np.ndarray, dict[int, str]]:
    """Number names in sorted order: (N,) labels, and the name of each label. Names that are all integers
    sort as such.
    """
    distinct = sorted(set(names))
    if all(name.lstrip("-").isdecimal() for name in distinct):
        distinct.sort(key=int)
    number = {name: index for index, name in enumerate(distinct)}
    labels = np.fromiter((number[name] for name in names), dtype=np.int64, count=len(names))
    return labels, dict(enumerate(distinct))


def unify_classes(*tables: Records) -> list[Records]:
    """Number the classes of several tables alike, by name, so that query and gallery mean the same class by a
    label.

    Tables read from folders, from names, or with `relabel: True` were each numbered on their own: label 1 of
    the gallery may be another class than label 1 of the query. Tables whose labels came as numbers are left
    alone.

    Raises UserError when only some of the tables have class names.
    """
    named = [table.class_names is not None for table in tables]
    if not any(named):
        return list(tables)
    if not all(named):
        with_names, without = tables[named.index(True)], tables[named.index(False)]
        raise UserError(
            f"the labels of {with_names.origin} stand for names (of classes, or of labels before 'relabel: "
            f"True') and those of "
            f"{without.origin} are plain numbers, so they cannot be compared: write both in the same way"
        )
    every = sorted({name for table in tables for name in (table.class_names or {}).values()})
    _, names = number_classes(every)
    number = {name: label for label, name in names.items()}
    unified = []
    for table in tables:
        own = table.class_names or {}
        mapping = {label: number[name] for label, name in own.items()}
        labels = np.fromiter((mapping[int(label)] for label in table.labels), np.int64, len(table))
        unified.append(replace(table, labels=labels, class_names=names))
    return unified


def write_list(
    path: str | Path, records: Records, delimiter: str = "\t", image_root: str | Path | None = None
) -> None:
    """Write a list file that `ImageNetDataset` (or `VeriWild`, when there are cameras) reads: `path label
    [camera]` per line.

    Paths are written relative to `image_root`; without it as they are. Raises UserError for a path that holds
    the delimiter or a line break, since it could not be read back.
    """
    absolute = os.path.abspath  # symbolic links stay as they are
    root = None if image_root is None else absolute(image_root) + os.sep
    with atomic_file(path, "w") as file:
        for index, name in enumerate(records.paths):
            if root is not None:
                name = absolute(name).removeprefix(root).replace(os.sep, "/")
            if delimiter in name or "\n" in name or "\r" in name:
                raise UserError(
                    f"cannot write {name!r} to {path}: the path holds the delimiter {delimiter!r} or a line "
                    "break; rename it, or use another delimiter or a CSV table"
                )
            fields = [name, str(int(records.labels[index]))]
            if records.cameras is not None:
                fields.append(str(int(records.cameras[index])))
            file.write(delimiter.join(fields) + "\n")
