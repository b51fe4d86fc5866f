"""Reading of list files: text with a line `path label [camera]` per image."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lookalike.core.errors import UserError
from lookalike.images.records import IMAGE_SUFFIXES

_INT64 = np.iinfo(np.int64)


@dataclass
class Columns:
    """What a file of labelled images says, before labels are renumbered."""

    paths: list[str]
    labels: np.ndarray
    cameras: np.ndarray | None
    lines: Sequence[int]
    class_names: dict[int, str] | None = None


def read_list(
    list_file: str | os.PathLike[str],
    image_root: str | os.PathLike[str],
    delimiter: str | None,
    cameras: bool = False,
) -> Columns:
    """Read a list file; `delimiter` None means any blanks. Empty lines, a byte order mark and Windows line
    ends are tolerated.

    `cameras`: lines have two columns or, all of them, three; otherwise columns after the label are ignored.
    No image is looked for. Raises UserError, with the line, for a missing or empty file, too few columns, and
    labels that are no integers.
    """
    prefix = root_prefix(image_root)
    splits_paths = delimiter is None or delimiter == " "
    is_absolute = os.path.isabs
    paths: list[str] = []
    labels: list[int] = []
    third: list[int] = []
    lines: list[int] = []
    for number, line in _lines(list_file):
        fields = line.split(delimiter)
        if splits_paths and len(fields) > 2 and not _path_stands_alone(fields):
            fields = _join_path(fields)
        if len(fields) < 2:
            raise UserError(f"{list_file}:{number}: {_too_few(line, delimiter)}")
        path = fields[0]
        try:
            label = int(fields[1])
        except ValueError:
            raise UserError(f"{list_file}:{number}: {_no_integer('label', fields[1], delimiter)}") from None
        if not 0 <= label <= _INT64.max:
            raise UserError(
                f"{list_file}:{number}: label {label} is {'negative' if label < 0 else 'too large'}; labels "
                f"are numbered from 0"
            )
        if cameras:
            if len(fields) > 3:
                raise UserError(
                    f"{list_file}:{number}: expected 'path label' or 'path label camera', got {len(fields)} "
                    f"columns: {line!r}"
                )
            if len(fields) == 3:
                try:
                    third.append(int(fields[2]))
                except ValueError:
                    raise UserError(
                        f"{list_file}:{number}: {_no_integer('camera', fields[2], delimiter)}"
                    ) from None
            if len(third) not in (0, len(labels) + 1) or (third and len(fields) == 2):
                raise UserError(
                    f"{list_file}:{number}: {len(fields)} columns where the lines before have "
                    f"{5 - len(fields)}; "
                    f"either every line has a camera or none"
                )
        paths.append(path if is_absolute(path) else prefix + path)
        labels.append(label)
        lines.append(number)
    if not paths:
        raise UserError(f"{list_file}: the list is empty; expected a line 'path label' per image")
    contiguous = range(lines[0], lines[0] + len(lines))
    return Columns(
        paths,
        np.array(labels, dtype=np.int64),
        np.array(third, dtype=np.int64) if third else None,
        contiguous if lines[-1] == contiguous[-1] else lines,
    )


def root_prefix(image_root: str | os.PathLike[str]) -> str:
    """What to write before relative paths. Raises UserError when the folder does not exist."""
    root = os.fspath(image_root)
    if not Path(root).is_dir():
        raise UserError(f"image_root {root} is no folder")
    return root if not root or root.endswith(("/", os.sep)) else root + os.sep


def _lines(list_file: str | os.PathLike[str]) -> Iterator[tuple[int, str]]:
    """Lines that are not empty, stripped, with their number."""
    try:
        with open(list_file, encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                line = line.strip()
                if line:
                    yield number, line
    except FileNotFoundError:
        raise UserError(f"list file {list_file} does not exist") from None
    except IsADirectoryError:
        raise UserError(
            f"list file {list_file} is a folder; for a folder per class write 'name: FolderDataset'"
        ) from None
    except UnicodeDecodeError as error:
        raise UserError(
            f"list file {list_file} is not UTF-8 text ({error.reason}): save it as UTF-8"
        ) from None


def _join_path(fields: list[str]) -> list[str]:
    """Put a path that holds blanks together again: it ends at the first image suffix that is followed by
    an integer.
    """
    for end in range(len(fields) - 1):
        if fields[end].lower().endswith(IMAGE_SUFFIXES):
            rest = [field for field in fields[end + 1 :] if field]
            if rest and _is_integer(rest[0]):
                return [" ".join(fields[: end + 1]), *rest]
    return [field for field in fields if field]


def _path_stands_alone(fields: list[str]) -> bool:
    return fields[1].isdecimal() and fields[0].lower().endswith(IMAGE_SUFFIXES)


def _is_integer(text: str) -> bool:
    return text.lstrip("+-").isdecimal()


def _too_few(line: str, delimiter: str | None) -> str:
    shown = "blanks" if delimiter is None else repr(delimiter)
    message = f"expected 'path label' separated by {shown}, got {line!r}"
    for other in ("\t", ",", " "):
        if other != delimiter and len(line.split(other)) >= 2 and delimiter is not None:
            return f"{message}; the columns seem to be separated by {other!r}: set delimiter: {_yaml(other)}"
    return message


def _no_integer(what: str, text: str, delimiter: str | None) -> str:
    message = f"{what} {text!r} is no integer"
    if what == "label" and delimiter in (None, " "):
        message += (
            " (for paths with spaces, or class names instead of numbers, "
            "use a CSV file with 'name: TableDataset')"
        )
    elif what == "label":
        message += " (for class names instead of numbers use a CSV file with 'name: TableDataset')"
    return message


def _yaml(delimiter: str) -> str:
    return '"\\t"' if delimiter == "\t" else f'"{delimiter}"'
