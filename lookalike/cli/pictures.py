"""Pictures as a command line names them: files, folders, patterns, list files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lookalike.core.errors import UserError
from lookalike.core.files import check_text
from lookalike.images.list_files import read_named_list
from lookalike.images.picture_files import files_named, folder_label, pictures_inside


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
        if Path(name).is_dir():
            found += [str(Path(path)) for path in pictures_inside(name)]  # `a.png`, where `.` has `./a.png`
        else:
            found += files_named(name)
    for path in found:
        check_text(path)
    return found


def refuse_root_alone(root: str | None, *lists: str | None) -> None:
    """Raise UserError for a `--root` that has no effect, since no list is named."""
    if root is not None and not any(lists):
        raise UserError("--root is the folder that the paths of a list start from: name a list too")


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
    return [folder_label(path) for path in paths]
