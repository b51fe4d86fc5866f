"""Unpacking zip and tar archives of a download beside them, so that no file leaves the folder."""

from __future__ import annotations

import contextlib
import os
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from lookalike.core.errors import UserError
from lookalike.core.files import remove_leftovers
from lookalike.core.progress import track

_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_MAC = "__MACOSX/"  # what macOS adds to its archives
_BROKEN = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, NotImplementedError)


@dataclass(frozen=True)
class _Member:
    """One plain file of an archive."""

    name: str
    size: int
    open: Callable[[], IO[bytes] | None]


def archives_of(root: Path) -> list[Path]:
    """The archives in a folder and in the folders just below it, in the order of their names."""
    return sorted(
        file
        for pattern in ("*", "*/*")
        for file in root.glob(pattern)
        if file.name.lower().endswith(_SUFFIXES) and not file.name.startswith(".") and file.is_file()
    )


def unpack(archive: Path, dry_run: bool = False, just_made: Collection[Path] = ()) -> Path | None:
    """Unpack an archive beside itself; returns what it became, or None where it is there already.

    An archive with a single folder (or file) at its top becomes that, any other a folder of the archive's
    name. It takes its name only when it is whole. Raises UserError for an archive that is broken, needs a
    password, does not fit the disk, holds a link or a path that would leave the folder, or whose folder is
    one of `just_made` by another archive.
    """
    stem = _stem(archive)
    if (archive.parent / stem).exists():
        return None
    try:
        with _members(archive) as members:
            if not members:
                raise UserError(f"{archive} is empty")
            tops = {PurePosixPath(member.name).parts[0] for member in members}
            flat = len(tops) != 1
            target = archive.parent / (stem if flat else tops.pop())
            if target in just_made:
                raise UserError(
                    f"{archive} and another archive beside it both hold the folder '{target.name}': unpack "
                    "them yourself, into one folder of that name"
                )
            if target.exists():
                return None
            _check_space(archive, sum(member.size for member in members))
            if dry_run:
                return target
            remove_leftovers(target)
            part = Path(tempfile.mkdtemp(dir=archive.parent, prefix=f".{target.name}.", suffix=".part"))
            try:
                for member in track(members, f"unpacking {archive.name}", len(members), "files"):
                    _write(archive, member, part)
                umask = os.umask(0)
                os.umask(umask)
                part.chmod(0o777 & ~umask)
                os.replace(part if flat else part / target.name, target)
            finally:
                shutil.rmtree(part, ignore_errors=True)
    except _BROKEN as error:
        raise UserError(f"{archive} cannot be unpacked, it may not be whole: {error}") from None
    return target


def _stem(archive: Path) -> str:
    suffix = max((s for s in _SUFFIXES if archive.name.lower().endswith(s)), key=len)
    return archive.name[: -len(suffix)]


@contextlib.contextmanager
def _members(archive: Path) -> Iterator[list[_Member]]:
    if archive.name.lower().endswith(".zip"):
        with zipfile.ZipFile(archive) as opened:
            files = [info for info in opened.infolist() if not info.is_dir()]
            yield [_zipped(archive, opened, info) for info in files if not info.filename.startswith(_MAC)]
    else:
        with tarfile.open(archive) as tar:
            yield [_tarred(archive, tar, info) for info in tar if not info.isdir()]


def _zipped(archive: Path, opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Member:
    if info.flag_bits & 0x1:
        raise UserError(f"{archive} needs a password: unpack it yourself beside the archive")
    return _Member(_inside(archive, info.filename), info.file_size, lambda: opened.open(info))


def _tarred(archive: Path, opened: tarfile.TarFile, info: tarfile.TarInfo) -> _Member:
    if not info.isreg():
        raise UserError(f"{archive}: '{info.name}' is a link or a device, which is not unpacked")
    return _Member(_inside(archive, info.name), info.size, lambda: opened.extractfile(info))


def _inside(archive: Path, name: str) -> str:
    """The name of a member as a plain relative path."""
    path = PurePosixPath(name.replace("\\", "/"))
    parts = [part for part in path.parts if part != "."]
    if path.is_absolute() or ".." in parts or not parts or ":" in parts[0] or "\0" in name:
        raise UserError(f"{archive}: the path '{name}' would leave the folder, so nothing is unpacked")
    return "/".join(parts)


def _check_space(archive: Path, needed: int) -> None:
    free = shutil.disk_usage(archive.parent).free
    if needed > free:
        raise UserError(
            f"{archive} holds {needed / 1e9:.1f} GB and there are {free / 1e9:.1f} GB free in "
            f"{archive.parent}"
        )


def _write(archive: Path, member: _Member, folder: Path) -> None:
    target = folder / member.name
    target.parent.mkdir(parents=True, exist_ok=True)
    source = member.open()
    if source is None:
        raise UserError(f"{archive}: '{member.name}' cannot be read")
    with source, open(target, "wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)
