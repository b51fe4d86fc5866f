"""The folder of an unpacked download: finding its files, however deep the archive put them, and reading
their lines.
"""

from __future__ import annotations

import csv
import os
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lookalike.core.errors import UserError
from lookalike.images.list_files import numbered_lines

_DEPTH = 2
"""How many folders below the root of a download its files are looked for."""


@dataclass(frozen=True)
class Download:
    """A folder with the download of one set. `found` collects what was asked for and is there."""

    root: Path
    what: str
    """Whose download this is and where to get it, for messages."""
    found: set[Path] = field(default_factory=set)

    def find(self, *names: str) -> str:
        """Path, below the root, of the first of these files or folders that is there; shallow places first.

        Raises UserError that says what is missing and where the set comes from.
        """
        place = self.look_for(*names)
        if place is None:
            wanted = " or ".join(f"'{name}'" for name in names)
            raise UserError(
                f"there is no {wanted} in {self.root} or up to {_DEPTH} folders below it, and nothing is "
                f"downloaded: {self.what}"
            )
        return place

    def look_for(self, *names: str) -> str | None:
        """As `find`; None where none of them is there."""
        for folder in _folders(self.root):
            for name in names:
                path = self.root / folder / name
                if path.exists():
                    self.found.add(path)
                    return path.relative_to(self.root).as_posix()
        return None

    def beside(self, file: str, name: str) -> str:
        """Path, below the root, of `name` from the folder of a file that `find` gave."""
        return posixpath.normpath(posixpath.join(posixpath.dirname(file), name))

    def rows(
        self, file: str, columns: int, delimiter: str | None = None, skip: int = 0
    ) -> Iterator[tuple[str, list[str]]]:
        """(`file:line`, columns) of each line after the first `skip` ones.

        Raises UserError for a line that has not this many columns.
        """
        path = self.root / file
        self.found.add(path)
        for position, (number, line) in enumerate(numbered_lines(path)):
            if position < skip:
                continue
            fields = line.split(delimiter)
            if len(fields) != columns:
                raise UserError(f"{path}:{number}: expected {columns} columns, got {len(fields)}: {line!r}")
            yield f"{path}:{number}", fields

    def table(self, file: str, *columns: str) -> Iterator[tuple[str, list[str]]]:
        """(`file:line`, values of these columns) of each row of a CSV file with a header.

        Columns beyond those of the header are ignored: some published files do not quote their commas.
        """
        path = self.root / file
        self.found.add(path)
        try:
            with open(path, encoding="utf-8-sig", newline="") as opened:
                reader = csv.reader(opened)
                header = [name.strip() for name in next(reader, [])]
                absent = [name for name in columns if name not in header]
                if absent:
                    raise UserError(f"{path}: no column '{absent[0]}' (columns: {', '.join(header)})")
                places = [header.index(name) for name in columns]
                for row in reader:
                    if not row:
                        continue
                    where = f"{path}:{reader.line_num}"
                    if len(row) <= max(places):
                        raise UserError(f"{where}: {len(row)} columns where the header has {len(header)}")
                    yield where, [row[place].strip() for place in places]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise UserError(f"{path} cannot be read as a CSV file: {error}") from None


def whole_number(text: str, where: str) -> int:
    """A number of a published list. Raises UserError, with the place, for anything else."""
    try:
        return int(text)
    except ValueError:
        raise UserError(f"{where}: {text!r} is no whole number") from None


def _folders(root: Path) -> Iterator[str]:
    """The root and the folders below it, level by level, as paths below the root."""
    level = [""]
    for depth in range(_DEPTH + 1):
        yield from level
        if depth < _DEPTH:
            level = [below for folder in level for below in _subfolders(root, folder)]


def _subfolders(root: Path, folder: str) -> list[str]:
    with os.scandir(root / folder) as entries:
        names = sorted(e.name for e in entries if not e.name.startswith(".") and e.is_dir())
    return [(Path(folder) / name).as_posix() for name in names]
