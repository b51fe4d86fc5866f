"""Pictures as a command line names them: files, folders, patterns, list files."""

from __future__ import annotations

import glob
from dataclasses import dataclass
from pathlib import Path

from lookalike.core.errors import UserError
from lookalike.core.files import check_text
from lookalike.images import IMAGE_SUFFIXES
from lookalike.images.foreign_files import LeftAside
from lookalike.images.list_files import read_named_list


@dataclass
class Pictures:
    """Paths with what a list file says of them; labels and cameras are None where nothing does."""

    paths: list[str]
    labels: list[str] | None = None
    cameras: list[int] | None = None


def find_pictures(names: list[str]) -> list[str]:
    """Files as they are named; the pictures in and below folders, sorted; the matches of patterns.

    Raises UserError for a name that is neither, and for a folder or pattern without pictures.
    """
    found: list[str] = []
    for name in names:
        path = Path(name)
        if path.is_dir():
            found += _inside(path, name)
        elif path.exists():
            found.append(name)
        elif any(sign in name for sign in "*?["):
            matches = sorted(p for p in glob.glob(name, recursive=True) if Path(p).is_file())  # noqa: PTH207 (absolute patterns)
            if not matches:
                raise UserError(f"{name}: no file matches this pattern")
            found += matches
        else:
            raise UserError(f"{name}: there is no such file or folder")
    for path_found in found:
        check_text(path_found)
    return found


def _inside(folder: Path, name: str) -> list[str]:
    """The pictures in and below a folder, sorted; a line tells of pictures that are left aside."""
    inside: list[str] = []
    aside = LeftAside(name)
    for path in sorted(folder.rglob("*"), key=str):
        if _is_picture(path):
            inside.append(str(path))
        elif path.is_file():
            aside.add(str(path))
    if not inside:
        known = ", ".join(sorted(IMAGE_SUFFIXES))
        raise UserError(
            f"{name}: there is no picture in this folder (looked for {known}){aside.why_nothing()}"
        )
    aside.warn()
    return inside


def _is_picture(path: Path) -> bool:
    """A link that leads nowhere is one, which whoever reads it says to be broken."""
    named = path.suffix.lower() in IMAGE_SUFFIXES
    return named and (path.is_file() or (path.is_symlink() and not path.exists()))


def listed_pictures(file: str, root: str | None) -> Pictures:
    """The pictures of a list file, `path label [camera]` a line, as `read_named_list` reads it.

    Paths are relative to `root`, else to the folder of the list file.
    """
    if root is not None and not Path(root).is_dir():
        raise UserError(f"--root {root} is no folder")
    listed = read_named_list(file, root)
    return Pictures(listed.paths, listed.labels, listed.cameras)


def folder_labels(paths: list[str]) -> list[str]:
    """The name of the folder that each picture lies in."""
    return [Path(path).resolve().parent.name for path in paths]
