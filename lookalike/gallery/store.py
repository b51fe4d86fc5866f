"""What a gallery must not lose: the enrolled pictures, their labels and vectors, in one SQLite file."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lookalike.core.errors import LookalikeError, UserError
from lookalike.core.files import NoSpace, is_full

_SCHEMA = (
    "CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE pictures (id INTEGER PRIMARY KEY AUTOINCREMENT, path TEXT NOT NULL, label TEXT NOT NULL, "
    "vector BLOB NOT NULL)",
    "CREATE INDEX pictures_by_path ON pictures (path)",
    "CREATE INDEX pictures_by_label ON pictures (label)",
)
FORMAT = "1"
_LOG_INDEX = 64 << 10
"""Bytes without which SQLite cannot begin the index of its log, and calls that a failure of the disk."""
PATIENCE = 60.0
"""Seconds that a change waits for the change of another process."""


class Store:
    """The table of enrolled pictures.

    Every change is one transaction, so a crash leaves the state before it.
    """

    def __init__(self, file: Path, kind: str) -> None:
        self.file, self.dtype = file, np.dtype(np.uint8 if kind == "binary" else np.float32)

    @classmethod
    def create(cls, file: Path, about: dict[str, str]) -> Store:
        """Make an empty store.

        `about` is what a gallery says of itself. Raises UserError when it cannot be written.
        """
        store = cls(file, about["kind"])
        with store._changing("the gallery file cannot be written") as connection:
            for statement in _SCHEMA:
                connection.execute(statement)
            connection.executemany("INSERT INTO about VALUES (?, ?)", [("format", FORMAT), *about.items()])
        return store

    @classmethod
    def open(cls, file: Path) -> tuple[Store, dict[str, str]]:
        """Open a store. Raises UserError when the file is none, is damaged, or is of another format."""
        if not file.is_file():
            raise UserError(
                f"{file.parent} is not a gallery: no {file.name} there (lookalike gallery create makes one)"
            )
        with cls(file, "")._reading() as connection:
            about = dict(connection.execute("SELECT key, value FROM about"))
        if about.get("format") != FORMAT:
            raise UserError(
                f"{file}: format {about.get('format')} is not the format {FORMAT} that this version reads"
            )
        if missing := {"kind", "size", "fingerprint", "model"} - set(about):
            raise UserError(
                f"the gallery file {file} is damaged: it does not say its {', '.join(sorted(missing))}"
            )
        return cls(file, about["kind"]), about

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """A connection for reading, also where neither the file nor its folder may be written."""
        fixed = not (os.access(self.file, os.W_OK) and os.access(self.file.parent, os.W_OK))
        try:
            # without leave to write, SQLite reads only what it may take as unchanging
            with closing(self._connect("mode=ro&immutable=1" if fixed else "mode=rw")) as connection:
                yield connection
        except sqlite3.Error as error:
            raise self._told(error, f"the gallery file {self.file} cannot be read: {error}") from None

    @contextmanager
    def _changing(self, failure: str) -> Iterator[sqlite3.Connection]:
        """A transaction: all of the block or, where it raises, none of it."""
        try:
            with closing(self._connect("mode=rwc")) as connection:
                connection.execute("PRAGMA journal_mode=WAL")  # readers go on while one process writes
                connection.execute("PRAGMA synchronous=FULL")
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield connection
                    connection.execute("COMMIT")
                except BaseException:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                    raise
        except sqlite3.Error as error:
            raise self._told(error, f"{failure}: {self.file}: {error}") from None

    def _told(self, error: sqlite3.Error, sentence: str) -> LookalikeError:
        begun = "disk I/O" not in str(error) or shutil.disk_usage(self.file.parent).free >= _LOG_INDEX
        if begun and not is_full(error):
            return UserError(sentence)
        return NoSpace(f"the disk is full: no space is left for {self.file}, or for its log beside it")

    def _connect(self, how: str) -> sqlite3.Connection:
        address = f"{self.file.resolve().as_uri()}?{how}"
        return sqlite3.connect(address, uri=True, timeout=PATIENCE, isolation_level=None)

    def add(self, paths: Sequence[str], labels: Sequence[str], vectors: NDArray) -> list[int]:
        """Enrol pictures; all of them or none. Returns the positions of those that were.

        A path that is enrolled already is left out, also when another process enrolled it a moment ago;
        pictures without a path are always enrolled.
        """
        added = []
        with self._changing("nothing was enrolled, the gallery file cannot be written") as connection:
            for position, (path, label, vector) in enumerate(zip(paths, labels, vectors, strict=True)):
                row = (path, label, np.ascontiguousarray(vector, self.dtype).tobytes(), path, path)
                cursor = connection.execute(
                    "INSERT INTO pictures (path, label, vector) SELECT ?, ?, ? "
                    "WHERE ? = '' OR NOT EXISTS (SELECT 1 FROM pictures WHERE path = ?)",
                    row,
                )
                if cursor.rowcount:
                    added.append(position)
        return added

    def version(self) -> str:
        """Changes with every change of the pictures.

        Ids are never given twice. `Index.version` is made of the same.
        """
        with self._reading() as connection:
            count, last = connection.execute("SELECT COUNT(*), COALESCE(MAX(id), 0) FROM pictures").fetchone()
        return f"{count}-{last}"

    def vectors(self) -> tuple[NDArray[np.int64], NDArray]:
        """All ids and vectors, by id. Raises UserError when a vector is damaged."""
        with self._reading() as connection:
            rows = connection.execute("SELECT id, vector FROM pictures ORDER BY id").fetchall()
        ids = np.array([row[0] for row in rows], dtype=np.int64)
        if not rows:
            return ids, np.zeros((0, 0), self.dtype)
        if len({len(row[1]) for row in rows}) > 1:
            raise UserError(f"the gallery file {self.file} is damaged: its vectors differ in length")
        return ids, np.frombuffer(b"".join(row[1] for row in rows), self.dtype).reshape(len(rows), -1)

    def describe(self, ids: Sequence[int]) -> dict[int, tuple[str, str]]:
        """Path and label of pictures."""
        found: dict[int, tuple[str, str]] = {}
        with self._reading() as connection:
            for start in range(0, len(ids), 500):
                some = [int(i) for i in ids[start : start + 500]]
                marks = ",".join("?" * len(some))
                for row in connection.execute(
                    f"SELECT id, path, label FROM pictures WHERE id IN ({marks})", some
                ):
                    found[row[0]] = (row[1], row[2])
        return found

    def known_paths(self, paths: Sequence[str]) -> dict[str, str]:
        """Those of the paths that are enrolled already, and their labels."""
        known: dict[str, str] = {}
        with self._reading() as connection:
            for start in range(0, len(paths), 500):
                some = list(paths[start : start + 500])
                marks = ",".join("?" * len(some))
                known.update(
                    connection.execute(f"SELECT path, label FROM pictures WHERE path IN ({marks})", some)
                )
        return known

    def counts(self) -> dict[str, int]:
        """Pictures of each label."""
        with self._reading() as connection:
            return dict(
                connection.execute("SELECT label, COUNT(*) FROM pictures GROUP BY label ORDER BY label")
            )
