"""Reading of CSV and Parquet tables of labelled images."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lookalike.core.errors import UserError, did_you_mean, line_of, missing_extra
from lookalike.core.files import not_text
from lookalike.images.list_files import Columns, root_prefix
from lookalike.images.records import number_classes

_INT64 = np.iinfo(np.int64)


def read_table(
    table: str | Path,
    image_root: str | Path | None,
    path_column: str,
    label_column: str,
    camera_column: str | None,
    delimiter: str | None,
) -> Columns:
    """The columns of a table of images, labels as numbers.

    Raises UserError for a missing or empty file, a column that is not there, and a row whose values cannot be
    read.
    """
    wanted = [path_column, label_column] + ([camera_column] if camera_column else [])
    if not Path(table).is_file():
        raise UserError(f"table {table} does not exist")
    if str(table).lower().endswith((".parquet", ".pq")):
        values, lines = _read_parquet(table, wanted)
        row_word = "row "
    else:
        values, lines = _read_csv(
            table, wanted, delimiter or ("\t" if str(table).lower().endswith(".tsv") else ",")
        )
        row_word = ""
    if not lines:
        raise UserError(f"{table}: the table has no rows")

    def place(index: int) -> str:
        return f"{table}:{row_word}{lines[index]}"

    prefix = root_prefix(Path(table).parent if image_root is None else image_root)
    is_absolute = os.path.isabs
    paths = []
    for index, path in enumerate(values[0]):
        if not path:
            raise UserError(f"{place(index)}: no path in column '{path_column}'")
        paths.append(path if is_absolute(path) else prefix + path)
    numbers = _integers(values[1])
    class_names = None
    if numbers is None:
        for index, name in enumerate(values[1]):
            if not name:
                raise UserError(f"{place(index)}: no label in column '{label_column}'")
        numbers, class_names = number_classes(values[1])
    elif (numbers < 0).any():
        index = int(np.argmax(numbers < 0))
        raise UserError(f"{place(index)}: label {numbers[index]} is negative; labels are numbered from 0")
    cameras = None
    if camera_column:
        cameras = _integers(values[2])
        if cameras is None:
            index = next(i for i, value in enumerate(values[2]) if _integers([value]) is None)
            raise UserError(
                f"{place(index)}: camera {values[2][index]!r} in column '{camera_column}' is no integer"
            )
    return Columns(paths, numbers, cameras, lines, class_names)


def _read_csv(table: str | Path, wanted: list[str], delimiter: str) -> tuple[list[list[str]], Sequence[int]]:
    values: list[list[str]] = [[] for _ in wanted]
    lines = []
    try:
        with open(table, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            header = next(reader, None)
            if header is None:
                raise UserError(f"{table}: the table is empty; expected a header with {', '.join(wanted)}")
            header = [name.strip() for name in header]
            places = [_column(table, header, name) for name in wanted]
            needed = max(places) + 1
            for row in reader:
                if not row or not any(row):
                    continue
                if len(row) < needed:
                    raise UserError(
                        f"{table}:{reader.line_num}: {len(row)} columns, but column '{header[needed - 1]}' "
                        f"is number {needed}"
                    )
                for column, index in zip(values, places, strict=True):
                    column.append(row[index].strip())
                lines.append(reader.line_num)
    except csv.Error as error:
        raise UserError(f"{table}:{reader.line_num}: not a CSV line: {error}") from None
    except UnicodeDecodeError as error:
        raise not_text(table, error.reason) from None
    return values, lines


def _read_parquet(table: str | Path, wanted: list[str]) -> tuple[list[list[str]], Sequence[int]]:
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ModuleNotFoundError:
        raise missing_extra("pyarrow", "parquet", f"reading {table}") from None
    try:
        file = parquet.ParquetFile(table)
        for name in wanted:
            _column(table, file.schema_arrow.names, name)
        content = file.read(columns=wanted)
    except pyarrow.ArrowException as error:
        raise UserError(f"{table}: not a Parquet file: {line_of(error)}") from None
    values = [
        ["" if value is None else str(value).strip() for value in content.column(name).to_pylist()]
        for name in wanted
    ]
    return values, range(1, content.num_rows + 1)


def _column(table: str | Path, header: list[str], name: str) -> int:
    if name not in header:
        raise UserError(
            f"{table}: no column '{name}'{did_you_mean(name, header)} (columns: {', '.join(header)})"
        )
    return header.index(name)


def _integers(values: list[str]) -> np.ndarray | None:
    """(N,) int64, or None when a value is no integer."""
    try:
        numbers = [int(value) for value in values]
    except ValueError:
        return None
    return np.array(numbers, dtype=np.int64) if all(abs(n) <= _INT64.max for n in numbers) else None
