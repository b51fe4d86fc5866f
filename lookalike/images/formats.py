"""The formats of labelled images that recipes name under `DataLoader.*.dataset`, and the one function that
reads them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from lookalike.core.errors import UserError
from lookalike.core.log import warn_once
from lookalike.core.registry import Registry, Swallowed
from lookalike.images.list_files import Columns, read_list
from lookalike.images.records import IMAGE_SUFFIXES, Records, number_classes
from lookalike.images.tables import read_table

formats: Registry[Records] = Registry("dataset")

_NOT_FOR_READING = ("transform_ops", "batch_transform_ops")


def read_records(section: Any, path: str = "dataset") -> Records:
    """Read what a recipe's `dataset` block names: `{name: ImageNetDataset, image_root: …, cls_label_path:
    …}`.

    No image is opened or looked for: that is `check_images`. `transform_ops` and `batch_transform_ops` are
    left to the caller. Raises UserError for an unknown format or argument, and for a list that cannot be read
    (with file and line).
    """
    return formats.build(section, path, also=_NOT_FOR_READING)


@formats.register("ImageNetDataset", "ImageList")
def image_net(image_root: str, cls_label_path: str, delimiter: str = " ", relabel: bool = False) -> Records:
    """A list file with a line `path<delimiter>label` per image; further columns are ignored.

    The line is split at each delimiter, path first. A path may hold the delimiter itself when the delimiter
    is a space: the path ends at the first column that ends like an image file (`.jpg`, …) and is followed by
    an integer, the label. In a line without such a column the label is the second column.

    `relabel` numbers the labels from 0 in ascending order. (The reference numbers them in the order of a
    Python set, which is neither sorted nor of first appearance, so the numbers differ; the classes are the
    same.)
    """
    return _numbered(read_list(cls_label_path, image_root, delimiter or " "), cls_label_path, relabel)


@formats.register("ICartoonDataset")
def i_cartoon(image_root: str, cls_label_path: str, relabel: bool = False) -> Records:
    """A list file with a line `path<TAB>label` per image; further columns are ignored."""
    return _numbered(read_list(cls_label_path, image_root, "\t"), cls_label_path, relabel)


@formats.register(
    "VeriWild",
    swallows={"backend": Swallowed("DecodeImage in transform_ops chooses the decoder", (None, "cv2"))},
)
def veri_wild(image_root: str, cls_label_path: str, relabel: bool = False) -> Records:
    """A list file with a line `path label` or `path label camera` per image, separated by blanks or tabs.

    The third column is a camera or an instance id: evaluation takes a gallery image with the label and the
    third column of the query for the query itself, and drops it. Either every line has it or none (the
    reference misaligns mixed files).
    """
    return _numbered(read_list(cls_label_path, image_root, None, cameras=True), cls_label_path, relabel)


@formats.register("FolderDataset", "ImageFolder")
def folder(image_root: str) -> Records:
    """A folder for each class, its name the class, with images at any depth. Classes are numbered in sorted
    order of names.

    Hidden files and files that do not end like an image are passed over, and so are class folders without an
    image.
    """
    top = Path(image_root)
    if not top.is_dir():
        raise UserError(f"image_root {image_root} is no folder")
    paths: list[str] = []
    names: list[str] = []
    with os.scandir(top) as entries:
        classes = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    for name in classes:
        found = _images_below(top / name)
        if not found:
            warn_once(f"{top / name}: a class folder without an image, passed over")
        paths += found
        names += [name] * len(found)
    if not paths:
        raise UserError(
            f"{image_root}: no images in it; expected a folder for each class, with images such as "
            f"{image_root}/cat/1.jpg"
        )
    labels, class_names = number_classes(names)
    return Records(paths, labels, None, str(image_root), None, class_names)


@formats.register("TableDataset", "CsvDataset", "ParquetDataset")
def table(
    table: str,
    image_root: str | None = None,
    path_column: str = "path",
    label_column: str = "label",
    camera_column: str | None = None,
    delimiter: str | None = None,
    relabel: bool = False,
) -> Records:
    """A CSV, TSV (by suffix) or Parquet file with named columns, one row per image.

    Labels that are all integers are taken as they are; otherwise they are names, numbered in sorted order.
    Paths are relative to `image_root`, by default the folder of the table. `delimiter` is that of a CSV file
    (default `,`). Parquet needs pyarrow.
    """
    columns = read_table(table, image_root, path_column, label_column, camera_column, delimiter)
    return _numbered(columns, table, relabel)


def _images_below(top: Path) -> list[str]:
    found = []
    for where, folders, files in os.walk(top, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and name.lower().endswith(IMAGE_SUFFIXES):
                found.append(f"{where}{os.sep}{name}")
    return found


def _numbered(columns: Columns, origin: str, relabel: bool) -> Records:
    labels, class_names = columns.labels, columns.class_names
    if relabel and class_names is None:
        raw, labels = np.unique(labels, return_inverse=True)
        labels = labels.astype(np.int64).reshape(-1)
        class_names = {index: str(label) for index, label in enumerate(raw)}
    return Records(columns.paths, labels, columns.cameras, str(origin), columns.lines, class_names)
