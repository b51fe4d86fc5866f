"""The pictures that `init` is pointed at: a folder for each class, a list file, or a table."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from lookalike.core.errors import UserError
from lookalike.core.files import not_text
from lookalike.images import IMAGE_SUFFIXES, Records, read_records

_TABLES = (".csv", ".tsv", ".parquet", ".pq")
_PARTS = frozenset(("train", "training", "val", "valid", "validation", "test", "testing", "query", "gallery"))


def read_source(
    data: str | Path,
    root: str | Path | None = None,
    path_column: str = "path",
    label_column: str = "label",
) -> tuple[Records, Path]:
    """Records of a folder, list file or table, and the folder that their paths are told from.

    A list file has a line `path label`, separated by a tab, a comma or blanks; `.csv`, `.tsv` and `.parquet`
    are tables with named columns. `root` is the folder of relative paths: by default that of the file, or the
    current one where the first picture is found from there.

    Raises UserError for what cannot be read, and for a folder whose folders are no classes.
    """
    data = Path(data)
    if data.is_dir():
        return _folder(data), data
    if not data.is_file():
        raise UserError(
            f"{data} does not exist; give a folder with a folder for each class, a list file with lines "
            "'path label', or a CSV or Parquet table"
        )
    if data.suffix.lower() in IMAGE_SUFFIXES:
        raise UserError(
            f"{data} is a picture, not a folder or list of pictures; give a folder with a folder for each "
            "class, a list file with lines 'path label', or a CSV or Parquet table"
        )
    if is_table(data):
        section: dict[str, Any] = {
            "name": "TableDataset",
            "table": str(data),
            "path_column": path_column,
            "label_column": label_column,
        }
    else:
        section = {"name": "ImageNetDataset", "cls_label_path": str(data), "delimiter": _delimiter(data)}
    folder = Path(root) if root is not None else data.parent
    records = read_records({**section, "image_root": str(folder)}, str(data))
    if root is None and not Path(records.paths[0]).exists():
        from_here = read_records({**section, "image_root": "."}, str(data))
        if Path(from_here.paths[0]).exists():
            return from_here, Path()
    return records, folder


def is_table(data: str | Path) -> bool:
    """Whether a file is read as a table with named columns."""
    return Path(data).suffix.lower() in _TABLES


def _folder(data: Path) -> Records:
    records = read_records({"name": "FolderDataset", "image_root": str(data)}, str(data))
    names = sorted((records.class_names or {}).values())
    if all(name.lower() in _PARTS for name in names):
        raise UserError(
            f"{data}: its folders are {', '.join(names)}, which are parts of a set and no classes; give one "
            f"of "
            f"them, such as {data / names[-1]}, or one folder with all classes"
        )
    return records


def _delimiter(file: Path) -> str:
    """What separates the columns of a list file: the first of tab, comma and blank that its first line
    has.
    """
    try:
        with open(file, encoding="utf-8-sig") as lines:
            first = next((line.strip() for line in lines if line.strip()), "")
    except UnicodeDecodeError as error:
        raise not_text(file, error.reason) from None
    if "\t" in first:
        return "\t"
    path, comma, label = first.rpartition(",")
    return "," if comma and path and label.strip().isdecimal() else " "


def relative_to(root: Path, path: str) -> str:
    """A path as a list file tells it: from the root where it lies below it, with slashes.

    A name that begins with a blank is told from `./`, since the reader strips lines.
    """
    top = os.path.abspath(root) + os.sep  # noqa: PTH100 (symbolic links stay as they are)
    whole = os.path.abspath(path)  # noqa: PTH100
    told = whole.removeprefix(top).replace(os.sep, "/")
    return f"./{told}" if told != told.lstrip() else told
