"""The formats of labelled images that recipes name under `DataLoader.*.dataset`, and the one function that
reads them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lookalike.core.errors import UserError
from lookalike.core.log import warn_once
from lookalike.core.registry import Registry
from lookalike.images.foreign_files import LeftAside
from lookalike.images.list_files import Columns, numbered_lines, read_list, root_prefix
from lookalike.images.records import IMAGE_SUFFIXES, Records, number_classes
from lookalike.images.tables import read_table

formats: Registry[Records] = Registry("dataset")

_NOT_FOR_READING = ("transform_ops", "batch_transform_ops", "transform")

Backend = Literal["cv2", "pil"]
"""`pil` has an effect on how images are decoded and resized, not on the table: see `dataset_operations`."""


def read_records(section: Any, path: str = "dataset") -> Records:
    """Read what a recipe's `dataset` block names: `{name: ImageNetDataset, image_root: …, cls_label_path:
    …}`.

    No image is opened or looked for: that is `check_images`. `transform_ops` (`transform` of AdaFaceDataset)
    and `batch_transform_ops` are left to the caller. Raises UserError for an unknown format or argument, and
    for a list that cannot be read (with file and line).
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


@formats.register("MultiScaleDataset")
def multi_scale(image_root: str, cls_label_path: str, delimiter: str = " ", relabel: bool = False) -> Records:
    """As ImageNetDataset; each batch comes in the size that MultiScaleSampler draws for it.

    The size takes the place of that of RandCropImage, ResizeImage and CropImage in `transform_ops`. (In the
    reference the other arguments of these are lost.)
    """
    return image_net(image_root, cls_label_path, delimiter, relabel)


@formats.register("ICartoonDataset")
def i_cartoon(image_root: str, cls_label_path: str, relabel: bool = False) -> Records:
    """A list file with a line `path<TAB>label` per image; further columns are ignored."""
    return _numbered(read_list(cls_label_path, image_root, "\t"), cls_label_path, relabel)


@formats.register(
    "AdaFaceDataset",
    swallows={
        "low_res_augmentation_prob": "write RandomInterpolationAugment: {prob: …} in transform",
        "crop_augmentation_prob": "write CropWithPadding: {prob: …} in transform",
        "photometric_augmentation_prob": "write ColorJitter: {prob: …} in transform",
    },
)
def ada_face(root_dir: str, label_path: str, relabel: bool = False) -> Records:
    """A list file with a line `path label` per image, separated by blanks or tabs; images are Pillow's.

    What happens to an image may be called `transform` in place of `transform_ops`.
    """
    return _numbered(read_list(label_path, root_dir, None), label_path, relabel)


@formats.register("LogoDataset")
def logo(image_root: str, cls_label_path: str, relabel: bool = False) -> Records:
    """The table of Logo-3K: columns separated by tabs, of which the second is the class, counted from 1, and
    the fourth the path.

    A row that begins with `image_id` is the header. Labels are the classes less 1.
    """
    prefix = root_prefix(image_root)
    paths, labels, lines = [], [], []
    for number, line in numbered_lines(cls_label_path):
        fields = line.split("\t")
        if fields[0] == "image_id":
            continue
        if len(fields) < 4:
            raise UserError(
                f"{cls_label_path}:{number}: expected at least 4 columns separated by tabs (class in the "
                f"second, path in the fourth), got {len(fields)}: {line!r}"
            )
        if not fields[1].isdecimal() or int(fields[1]) < 1:
            raise UserError(
                f"{cls_label_path}:{number}: class {fields[1]!r} in the second column is no whole number of "
                "at least 1"
            )
        paths.append(fields[3] if os.path.isabs(fields[3]) else prefix + fields[3])  # noqa: PTH117
        labels.append(int(fields[1]) - 1)
        lines.append(number)
    if not paths:
        raise UserError(f"{cls_label_path}: the table has no rows")
    return _numbered(Columns(paths, np.array(labels, np.int64), None, lines), cls_label_path, relabel)


@formats.register("VeriWild")
def veri_wild(
    image_root: str, cls_label_path: str, relabel: bool = False, backend: Backend = "cv2"
) -> Records:
    """A list file with a line `path label` or `path label camera` per image, separated by blanks or tabs.

    The third column is a camera or an instance id: evaluation takes a gallery image with the label and the
    third column of the query for the query itself, and drops it. Either every line has it or none (the
    reference misaligns mixed files). `backend: pil` decodes and resizes with Pillow.
    """
    return _numbered(read_list(cls_label_path, image_root, None, cameras=True), cls_label_path, relabel)


@formats.register("FolderDataset", "ImageFolder")
def folder(image_root: str) -> Records:
    """A folder for each class, its name the class, with images at any depth. Classes are numbered in sorted
    order of names.

    Hidden files and files that do not end like an image are passed over, and so are class folders without an
    image; a warning tells of pictures of other kinds among them.
    """
    top = Path(image_root)
    if not top.is_dir():
        raise UserError(f"image_root {image_root} is no folder")
    paths: list[str] = []
    names: list[str] = []
    aside = LeftAside(image_root)
    with os.scandir(top) as entries:
        classes = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    for name in classes:
        found = _images_below(top / name, aside)
        if not found:
            warn_once(f"{top / name}: a class folder without an image, passed over")
        paths += found
        names += [name] * len(found)
    if not paths:
        raise UserError(
            f"{image_root}: no images in it; expected a folder for each class, with images such as "
            f"{image_root}/cat/1.jpg{aside.why_nothing()}"
        )
    aside.warn()
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


def _images_below(top: Path, aside: LeftAside) -> list[str]:
    found = []
    for where, folders, files in os.walk(top, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = f"{where}{os.sep}{name}"
            if not name.lower().endswith(IMAGE_SUFFIXES):
                aside.add(path)
            elif not name.startswith("."):
                found.append(path)
    return found


def _numbered(columns: Columns, origin: str, relabel: bool) -> Records:
    labels, class_names = columns.labels, columns.class_names
    if relabel and class_names is None:
        raw, labels = np.unique(labels, return_inverse=True)
        labels = labels.astype(np.int64).reshape(-1)
        class_names = {index: str(label) for index, label in enumerate(raw)}
    return Records(columns.paths, labels, columns.cameras, str(origin), columns.lines, class_names)
