"""Pictures in a Parquet file: a column with the bytes of files, as Hugging Face datasets write it.

The column holds bytes, or structs `{bytes, path}`, of which `path` counts where `bytes` is empty.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lookalike.core.errors import BrokenImage, UserError, did_you_mean, missing_extra
from lookalike.deploy.batch.source import Picture, file_state

IMAGE_COLUMN = "image"
LABEL_COLUMNS = ("label", "labels")
_LABELS_AT_A_TIME, _PICTURES_AT_A_TIME = 1 << 16, 16
_READ_BUFFER = 1 << 20
"""Bytes read at a time, so that a row group of gigabytes is never in memory as a whole."""


@dataclass(frozen=True, slots=True)
class ParquetRow(Picture):
    """A picture in a row of a Parquet file, named `FILE.parquet#ROW`; rows count from 0."""

    data: bytes | None = None
    path: str | None = None

    def read(self) -> str | bytes:
        found = self.data or self.path
        if not found:
            raise BrokenImage(self.name, "there is no picture in this row")
        return found


@dataclass(frozen=True)
class ParquetFile:
    """The pictures of one Parquet file, a row each.

    image_column: `image` where None. label_column: `label` or `labels` where None, and then it may be
    missing; where it is empty, no column holds labels.
    """

    path: str
    image_column: str | None = None
    label_column: str | None = None

    def listing(self) -> Iterator[Picture]:
        """Reads the labels only. Raises UserError for a file without rows, and without the columns."""
        with self._opened() as file:
            label = self._columns(file.schema_arrow)[1]
            if not file.metadata.num_rows:
                raise UserError(f"{self.path}: there is no row in it")
            if label is None:
                for row in range(file.metadata.num_rows):
                    yield Picture(self._name(row))
                return
            row = 0
            for batch in file.iter_batches(_LABELS_AT_A_TIME, columns=[label]):
                for value in batch.column(0).to_pylist():
                    yield Picture(self._name(row), self._label(value, label, row))
                    row += 1

    def pictures(self, parts: Sequence[range]) -> Iterator[Picture]:
        """Row groups without a wanted row are passed over."""
        with self._opened() as file:
            image, label = self._columns(file.schema_arrow)
            groups = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
            first = 0
            for group, rows in enumerate(groups):
                wanted = [_common(part, range(first, first + rows)) for part in parts]
                if any(wanted):
                    yield from self._rows(file, group, first, [part for part in wanted if part], image, label)
                first += rows

    def state(self) -> str:
        return file_state(self.path)

    def _rows(
        self, file: Any, group: int, first: int, parts: Sequence[range], image: str, label: str | None
    ) -> Iterator[Picture]:
        columns = [image] if label is None else [image, label]
        for batch in file.iter_batches(_PICTURES_AT_A_TIME, row_groups=[group], columns=columns):
            here = range(first, first + batch.num_rows)
            first = here.stop
            for row in (row for part in parts for row in _common(part, here)):
                data, path = self._picture(batch.column(image)[row - here.start].as_py())
                told = None if label is None else batch.column(label)[row - here.start].as_py()
                yield ParquetRow(
                    self._name(row),
                    None if label is None else self._label(told, label, row),
                    None,
                    data,
                    path,
                )
            if here.stop >= parts[-1].stop:
                return

    def _picture(self, value: Any) -> tuple[bytes | None, str | None]:
        """Bytes and path of a value of the column."""
        if not isinstance(value, dict):
            return value, None
        path = value.get("path")
        return value["bytes"], str(Path(self.path).parent / path) if path else None

    def _name(self, row: int) -> str:
        return f"{self.path}#{row}"

    def _label(self, value: Any, column: str, row: int) -> str:
        if value is None:
            raise UserError(f"{self._name(row)} has no label: '{column}' is empty there")
        return str(value)

    def _columns(self, schema: Any) -> tuple[str, str | None]:
        """The column of pictures, and that of labels where there is one."""
        image = self.image_column or IMAGE_COLUMN
        if image not in schema.names:
            raise UserError(
                f"{self.path} has no column '{image}'{did_you_mean(image, schema.names)} (it has: "
                f"{', '.join(schema.names) or 'none'}); --image-column names the one that holds the pictures"
            )
        kind = schema.field(image).type
        if not _holds_files(kind):
            raise UserError(
                f"{self.path}: '{image}' must hold the bytes of picture files, or {{bytes, path}}, got {kind}"
            )
        label = self.label_column
        if label is None:
            label = next((name for name in LABEL_COLUMNS if name in schema.names), None)
        if not label:
            return image, None
        if label not in schema.names:
            raise UserError(
                f"{self.path} has no column '{label}'{did_you_mean(label, schema.names)} (it has: "
                f"{', '.join(schema.names)})"
            )
        kind = schema.field(label).type
        if not _is_label(kind):
            raise UserError(
                f"{self.path}: '{label}' must hold whole numbers or text to be labels, got {kind}; "
                "--label-column names another column, and --label-column '' none"
            )
        return image, label

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Any]:
        if importlib.util.find_spec("pyarrow") is None:
            raise missing_extra("pyarrow", "parquet", "reading Parquet")
        import pyarrow
        import pyarrow.parquet

        try:
            with pyarrow.parquet.ParquetFile(self.path, buffer_size=_READ_BUFFER, pre_buffer=False) as file:
                yield file
        except (pyarrow.ArrowException, OSError) as error:
            raise UserError(f"{self.path} is no .parquet file or is damaged: {error}") from None


def _common(one: range, other: range) -> range:
    return range(max(one.start, other.start), max(min(one.stop, other.stop), max(one.start, other.start)))


def _holds_files(kind: Any) -> bool:
    from pyarrow import types

    if types.is_struct(kind):
        names = [kind.field(index).name for index in range(kind.num_fields)]
        return "bytes" in names and _holds_files(kind.field(names.index("bytes")).type)
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _is_label(kind: Any) -> bool:
    from pyarrow import types

    if types.is_dictionary(kind):
        kind = kind.value_type
    if types.is_integer(kind) or types.is_string(kind) or types.is_large_string(kind):
        return True
    return hasattr(types, "is_string_view") and bool(types.is_string_view(kind))
