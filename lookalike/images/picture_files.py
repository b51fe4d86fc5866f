"""Files of pictures: those of a folder and below, and those that a name or a pattern means."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from lookalike.core.errors import UserError
from lookalike.images.foreign_files import LeftAside
from lookalike.images.records import IMAGE_SUFFIXES

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")  # two letters or more, so that C:// is a drive


def pictures_inside(folder: str, archives: tuple[str, ...] = ()) -> Iterator[str]:
    """Paths of the pictures in a folder and below, known by their suffix, sorted by path.

    One folder at a time is held in memory. Links to files are followed, and those that lead nowhere are
    given too. Links to folders are not followed. A line tells of pictures that are left aside (`LeftAside`).

    archives: suffixes of files that hold pictures, which the caller takes where they are named.

    Raises UserError for a folder that cannot be read, and for one without pictures.
    """
    aside, held = LeftAside(folder), set[str]()
    empty = True
    for path in _files_below(folder):
        if path.lower().endswith(IMAGE_SUFFIXES):
            empty = False
            yield path
        else:
            aside.add(path)
            held.update(suffix for suffix in archives if path.lower().endswith(suffix))
    if empty:
        told = f"{folder}: there is no picture in this folder (looked for {', '.join(IMAGE_SUFFIXES)})"
        for suffix in archives:
            if suffix in held:
                raise UserError(f"{told}; for the {suffix} files in it write '{Path(folder) / f'*{suffix}'}'")
        raise UserError(told + aside.why_nothing())
    aside.warn()


def files_named(name: str) -> list[str]:
    """The file of that name, or the files that match it as a pattern, sorted.

    Raises UserError where there is none, and for an address elsewhere.
    """
    name = path_of(name)
    if Path(name).exists():
        return [name]
    if not any(sign in name for sign in "*?["):
        raise UserError(f"{name}: there is no such file or folder")
    matches = sorted(each for each in glob.glob(name, recursive=True) if Path(each).is_file())  # noqa: PTH207 (absolute patterns)
    if not matches:
        raise UserError(f"{name}: no file matches this pattern")
    return matches


def path_of(address: str) -> str:
    """The path of a `file://` URL; any other text is a path. Raises UserError for addresses elsewhere."""
    found = _ADDRESS.match(address)
    if found is None:
        return address
    scheme = found[1].lower()
    if scheme != "file":
        raise UserError(
            f"{address}: pictures are read from files here, not from addresses ({scheme}://): download it, "
            "and give its path or its bytes"
        )
    parts = urlsplit(address)
    if parts.netloc not in ("", "localhost"):
        raise UserError(f"{address}: it names a file on another machine, '{parts.netloc}'")
    path = unquote(parts.path)
    return path[1:] if re.match(r"/[A-Za-z]:", path) else path  # /C:/pictures of Windows


def folder_label(path: str) -> str:
    """The name of the folder that a picture lies in."""
    return Path(path).resolve().parent.name


def _files_below(folder: str) -> Iterator[str]:
    """Paths of the files below a folder, in the order in which all of them together would be sorted."""
    try:
        with os.scandir(folder) as entries:
            inside = [(_sorted_as(entry), entry.is_dir(follow_symlinks=False), entry) for entry in entries]
    except OSError as error:
        raise UserError(f"{folder} cannot be read: {error.strerror or error}") from None
    for _, is_folder, entry in sorted(inside, key=lambda each: each[0]):
        if is_folder:
            yield from _files_below(entry.path)
        elif entry.is_symlink() and not os.path.exists(entry.path):  # noqa: PTH110 (a str already)
            yield entry.path  # whoever reads it says that it leads nowhere
        elif entry.is_file():
            yield entry.path


def _sorted_as(entry: os.DirEntry[str]) -> str:
    """`a-b/x` stands before `a/x` where paths are compared, so a folder is compared with its slash."""
    return f"{entry.name}{os.sep}" if entry.is_dir(follow_symlinks=False) else entry.name
