"""Reading of list files: text with a line `path label [camera]` per image."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lookalike.core.errors import UserError
from lookalike.core.files import not_text
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
    for number, line in numbered_lines(list_file):
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


@dataclass
class NamedColumns:
    """What a list file says whose labels are names: any text."""

    paths: list[str]
    labels: list[str]
    cameras: list[int] | None


@dataclass(frozen=True, slots=True)
class NamedLine:
    """What one line of such a list says."""

    path: str
    label: str
    camera: int | None


def read_named_list(
    list_file: str | os.PathLike[str], image_root: str | os.PathLike[str] | None = None
) -> NamedColumns:
    """Read a list file in which a label is any text, also with blanks in it.

    Columns are separated by commas in a file that ends in .csv (as a spreadsheet writes them, without a
    header; one whose first word is `path` is skipped), else by tabs where the first line has one, else by
    blanks. Paths are relative to `image_root`, by default the folder of the list file; no image is looked
    for.

    Raises UserError, with the line, for a line without a label, too many columns, and where only some lines
    have a camera.
    """
    lines = list(iterate_named_list(list_file, image_root))
    cameras = [line.camera for line in lines if line.camera is not None]
    return NamedColumns([line.path for line in lines], [line.label for line in lines], cameras or None)


def iterate_named_list(
    list_file: str | os.PathLike[str], image_root: str | os.PathLike[str] | None = None
) -> Iterator[NamedLine]:
    """The lines of `read_named_list` one by one, for lists that need not fit into memory.

    What is wrong with a line is raised where the iteration comes to it.
    """
    folder = Path(list_file).parent if image_root is None else Path(image_root)
    with_camera: bool | None = None  # what the first line says
    first_without = ""
    for number, fields in _named_rows(list_file):
        line = " ".join(fields)
        if len(fields) > 3:
            raise UserError(
                f"{list_file}:{number}: expected 'path label' or 'path label camera', got {len(fields)} "
                f"columns: {line!r}"
            )
        if len(fields) < 2 or not fields[0] or not fields[1]:
            first_without = first_without or f"{list_file}:{number}: expected 'path label', got {line!r}"
            if with_camera is not None:
                raise UserError(first_without)
            continue
        if first_without:
            raise UserError(first_without)
        camera = None
        if len(fields) == 3 and fields[2]:
            if not _is_integer(fields[2]) or abs(int(fields[2])) > _INT64.max:
                raise UserError(f"{list_file}:{number}: camera {fields[2]!r} is no integer")
            camera = int(fields[2])
        if with_camera is None:
            with_camera = camera is not None
        elif with_camera != (camera is not None):
            raise UserError(f"{list_file}:{number}: either every line has a camera or none")
        yield NamedLine(str(folder / fields[0]), fields[1], camera)
    if first_without:
        raise UserError(
            f"{list_file}: no line has a label; expected 'path label' a line, separated by a tab, by blanks, "
            f"or by a comma where the file ends in .csv ({first_without.rpartition(', ')[2]})"
        )
    if with_camera is None:
        raise UserError(f"{list_file}: the list is empty; expected a line 'path label' per image")


def _named_rows(list_file: str | os.PathLike[str]) -> Iterator[tuple[int, list[str]]]:
    """Number and columns of each line of a list whose labels are names."""
    is_table = Path(list_file).suffix.lower() == ".csv"
    with_tabs = False
    for position, (number, line) in enumerate(numbered_lines(list_file)):
        if is_table:
            try:
                fields = [field.strip() for field in next(csv.reader([line]))]
            except csv.Error as error:
                raise UserError(f"{list_file}:{number}: is no line of a CSV file: {error}") from None
            if position or fields[0].lower() != "path":
                yield number, fields
            continue
        if not position:
            with_tabs = "\t" in line
        split = [field.strip() for field in line.split("\t")] if with_tabs else _path_and_name(line.split())
        yield number, split


def root_prefix(image_root: str | os.PathLike[str]) -> str:
    """What to write before relative paths. Raises UserError when the folder does not exist."""
    root = os.fspath(image_root)
    if not Path(root).is_dir():
        raise UserError(f"image_root {root} is no folder")
    return root if not root or root.endswith(("/", os.sep)) else root + os.sep


def numbered_lines(list_file: str | os.PathLike[str]) -> Iterator[tuple[int, str]]:
    """Lines that are not empty, stripped, with their number."""
    try:
        with open(list_file, encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if "\0" in line:
                    raise not_text(list_file, f"NUL in line {number}")
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
        raise not_text(list_file, error.reason) from None
    except OSError as error:
        raise UserError(f"list file {list_file} cannot be read: {error.strerror or error}") from None


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


def _path_and_name(fields: list[str]) -> list[str]:
    """Path, label and perhaps camera of a line with blanks, where the label is a name of any words.

    Numbers are read as everywhere (`_join_path`). Otherwise the path ends at the first image suffix, and all
    that follows is the label; a line that ends in an image suffix has none.
    """
    joined = _join_path(fields)
    if all(map(_is_integer, joined[1:])):
        return joined
    if fields[-1].lower().endswith(IMAGE_SUFFIXES):
        return [" ".join(fields)]
    end = next((i for i, field in enumerate(fields) if field.lower().endswith(IMAGE_SUFFIXES)), 0)
    return [" ".join(fields[: end + 1]), " ".join(fields[end + 1 :])]


def _path_stands_alone(fields: list[str]) -> bool:
    return fields[1].isdecimal() and fields[0].lower().endswith(IMAGE_SUFFIXES)


def _is_integer(text: str) -> bool:
    return re.fullmatch(r"[+-]?\d+", text) is not None


def _too_few(line: str, delimiter: str | None) -> str:
    shown = "blanks" if delimiter is None else repr(delimiter)
    message = f"expected 'path label' separated by {shown}, got {line!r}"
    for other in ("\t", ",", " "):
        columns = line.split(other)
        if other != delimiter and len(columns) >= 2 and _is_integer(columns[1]) and delimiter is not None:
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
