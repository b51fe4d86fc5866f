"""What a gallery must not lose: the enrolled pictures, their labels and vectors, in one SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lookalike.core.errors import UserError

_SCHEMA = """
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE pictures (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    path TEXT NOT NULL,
    label TEXT NOT NULL,
    vector BLOB NOT NULL
);
CREATE INDEX pictures_by_path ON pictures (path);
CREATE INDEX pictures_by_label ON pictures (label);
"""
FORMAT = "1"


class Store:
    """The table of enrolled pictures. Every change is one transaction, so a crash leaves the state before it."""

    def __init__(self, file: Path, kind: str) -> None:
        self.file, self.dtype = file, np.dtype(np.uint8 if kind == "binary" else np.float32)

    @classmethod
    def create(cls, file: Path, about: dict[str, str]) -> Store:
        """Make an empty store; `about` is what a gallery says of itself."""
        try:
            with sqlite3.connect(file) as connection:
                connection.executescript(_SCHEMA)
                connection.executemany("INSERT INTO about VALUES (?, ?)", [("format", FORMAT), *about.items()])
        except sqlite3.Error as error:
            raise UserError(f"the gallery file {file} cannot be written: {error}") from None
        finally:
            connection.close()
        return cls(file, about["kind"])

    @classmethod
    def open(cls, file: Path) -> tuple[Store, dict[str, str]]:
        """Open a store. Raises UserError when the file is none, is damaged, or is of another format."""
        if not file.is_file():
            raise UserError(f"{file.parent} is not a gallery: no {file.name} there (lookalike gallery create makes one)")
        store = cls(file, "")
        try:
            with store._connection() as connection:
                about = dict(connection.execute("SELECT key, value FROM about"))
        except sqlite3.Error as error:
            raise UserError(f"the gallery file {file} cannot be read: {error}") from None
        if about.get("format") != FORMAT:
            raise UserError(f"{file}: format {about.get('format')} is not the format {FORMAT} that this version reads")
        return cls(file, about["kind"]), about

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self.file, timeout=30)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            with connection:
                yield connection
        finally:
            connection.close()

    def add(self, paths: Sequence[str], labels: Sequence[str], vectors: NDArray) -> list[int]:
        """Enrol pictures; all of them or none. Returns their ids."""
        try:
            with self._connection() as connection:
                ids = []
                for path, label, vector in zip(paths, labels, vectors, strict=True):
                    row = (path, label, np.ascontiguousarray(vector, self.dtype).tobytes())
                    cursor = connection.execute("INSERT INTO pictures (path, label, vector) VALUES (?, ?, ?)", row)
                    ids.append(int(cursor.lastrowid or 0))
                return ids
        except sqlite3.Error as error:
            raise UserError(f"nothing was enrolled, the gallery file {self.file} cannot be written: {error}") from None

    def version(self) -> str:
        """Changes with every change of the pictures; the index remembers the one it was made of."""
        with self._connection() as connection:
            count, last = connection.execute("SELECT COUNT(*), COALESCE(MAX(id), 0) FROM pictures").fetchone()
        return f"{count}-{last}"

    def vectors(self) -> tuple[NDArray[np.int64], NDArray]:
        """All ids and vectors, by id."""
        with self._connection() as connection:
            rows = connection.execute("SELECT id, vector FROM pictures ORDER BY id").fetchall()
        ids = np.array([row[0] for row in rows], dtype=np.int64)
        if not rows:
            return ids, np.zeros((0, 0), self.dtype)
        return ids, np.frombuffer(b"".join(row[1] for row in rows), self.dtype).reshape(len(rows), -1)

    def describe(self, ids: Sequence[int]) -> dict[int, tuple[str, str]]:
        """Path and label of pictures."""
        found: dict[int, tuple[str, str]] = {}
        with self._connection() as connection:
            for start in range(0, len(ids), 500):
                some = [int(i) for i in ids[start : start + 500]]
                marks = ",".join("?" * len(some))
                for row in connection.execute(f"SELECT id, path, label FROM pictures WHERE id IN ({marks})", some):
                    found[row[0]] = (row[1], row[2])
        return found

    def known_paths(self, paths: Sequence[str]) -> set[str]:
        """Those of the paths that are enrolled already."""
        known: set[str] = set()
        with self._connection() as connection:
            for start in range(0, len(paths), 500):
                some = list(paths[start : start + 500])
                marks = ",".join("?" * len(some))
                known.update(r[0] for r in connection.execute(f"SELECT path FROM pictures WHERE path IN ({marks})", some))
        return known

    def counts(self) -> dict[str, int]:
        """Pictures of each label."""
        with self._connection() as connection:
            return dict(connection.execute("SELECT label, COUNT(*) FROM pictures GROUP BY label ORDER BY label"))
