"""Files that are either whole or absent: written beside their place and renamed into it."""

from __future__ import annotations

import codecs
import contextlib
import errno
import glob
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from lookalike.core.errors import LookalikeError, UserError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_LEFTOVER_AFTER = 24 * 3600.0
"""Seconds after which a half-written file is taken for that of a killed process."""


class NoSpace(LookalikeError):
    """Something could not be written because the disk is full."""


def is_full(error: BaseException) -> bool:
    """Whether an error says that the disk is full, or that the user's share of it is.

    Libraries say so in words of their own, or hide it behind another error.
    """
    told: BaseException | None = error
    while told is not None:
        if isinstance(told, OSError) and told.errno in _FULL:
            return True
        if any(words in str(told) for words in ("disk is full", *map(os.strerror, _FULL))):
            return True
        told = told.__cause__ or told.__context__
    return False


@contextlib.contextmanager
def space_for(path: str | Path) -> Iterator[None]:
    """Raise NoSpace, which names `path`, where the block fails because the disk is full."""
    try:
        yield
    except Exception as error:
        if not is_full(error):
            raise
        raise NoSpace(f"the disk is full: no space is left for {path}") from error


def _flush_folder(folder: Path) -> None:
    with contextlib.suppress(
        OSError
    ):  # some file systems cannot open a folder; the rename is atomic all the same
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def atomic_file(path: str | Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a file that takes its name only when the block ends without an error.

    Through a link it is what the link names. Raises OSError where a device or a pipe has the name: a file
    must not take its place, and NoSpace where the disk is full.
    """
    with space_for(path), _file_beside(Path(os.path.realpath(path)), mode) as file:
        yield file


@contextlib.contextmanager
def _place_for(path: Path) -> Iterator[None]:
    """Name `path` in an error of what is made beside it, not that."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path)
        yield
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from None


@contextlib.contextmanager
def _file_beside(path: Path, mode: str) -> Iterator[IO[Any]]:
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise OSError(errno.EINVAL, "it is no regular file, whose place could be taken", str(path))
    encoding = None if "b" in mode else "utf-8"
    with _place_for(path):
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(descriptor, mode, encoding=encoding) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        Path(name).chmod(0o666 & ~umask)
        os.replace(name, path)
        _flush_folder(path.parent)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise


@contextlib.contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """A folder to fill that takes the name `path` only when the block ends without an error; an older one is
    replaced.

    Two folders cannot be exchanged in one step everywhere: for an instant the older one bears the name
    `.NAME.old`, and `recover_folder` puts it back after a crash in that instant. Raises NoSpace where the
    disk is full.
    """
    # `.` has no name, and a link stays one
    with space_for(path), _folder_beside(Path(os.path.realpath(path))) as part:
        yield part


@contextlib.contextmanager
def _folder_beside(path: Path) -> Iterator[Path]:
    with _place_for(path):
        recover_folder(path)
        part = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part"))
    old = path.parent / f".{path.name}.old"
    try:
        yield part
        for file in part.rglob("*"):
            if file.is_file():
                with open(file, "rb+") as handle:
                    os.fsync(handle.fileno())
        umask = os.umask(0)
        os.umask(umask)
        part.chmod(0o777 & ~umask)
        if path.exists():
            os.replace(path, old)
        os.replace(part, path)
        _flush_folder(path.parent)
        shutil.rmtree(old, ignore_errors=True)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        recover_folder(path)
        raise


def remove_leftovers(path: Path) -> None:
    """Remove what killed processes were writing under this name; a young one may still be written."""
    for part in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        with contextlib.suppress(OSError):  # another process removed it
            if time.time() - part.stat().st_mtime > _LEFTOVER_AFTER:
                shutil.rmtree(part) if part.is_dir() else part.unlink()


def recover_folder(path: str | Path) -> None:
    """Put back the older folder when a crash hit `atomic_folder` between its two renames.

    Remove leftovers.
    """
    path = Path(path)
    old = path.parent / f".{path.name}.old"
    if old.exists():
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            os.replace(old, path)


def as_path(named: object, what: str) -> Path:
    """The path that a caller gives. Raises UserError, in which `what` says of what, for another type."""
    if not isinstance(named, (str, os.PathLike)):
        raise UserError(f"{what} is named by its path, a str or Path, got {type(named).__name__}")
    return Path(named)


def check_text(name: str) -> None:
    """Raise UserError for a name of a file that no table, page or JSON can hold: one that is not UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise UserError(
            f"{os.fsencode(name)!r} is no UTF-8, so no table can hold this name: rename the file ('convmv' "
            "renames many at once)"
        ) from None


def not_text(file: str | os.PathLike[str], reason: str) -> UserError:
    """The error for a file that is not UTF-8; one that is no text in any encoding is told so."""
    path = Path(file)
    begin = b""
    if path.is_file():  # a pipe cannot be read twice
        with open(path, "rb") as opened:
            begin = opened.read(1 << 16)
    if b"\0" in begin and not begin.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return UserError(f"{file} is a binary file, such as a picture or an archive, where text is needed")
    return UserError(f"{file} is not UTF-8 text ({reason}): save it as UTF-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write a value as indented JSON, atomically."""
    with atomic_file(path, "w") as file:
        json.dump(value, file, indent=2, ensure_ascii=False)
        file.write("\n")


def sha256(*paths: Path) -> str:
    """Hash of the contents of files, one after the other."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
