"""Pictures as a command line names them: files, folders, patterns, list files."""

from __future__ import annotations

import glob
from dataclasses import dataclass
from pathlib import Path

from lookalike.core.errors import UserError
from lookalike.images import IMAGE_SUFFIXES


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
            inside = sorted(
                str(p) for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file()
            )
            if not inside:
                known = ", ".join(sorted(IMAGE_SUFFIXES))
                raise UserError(f"{name}: there is no picture in this folder (looked for {known})")
            found += inside
        elif path.exists():
            found.append(name)
        elif any(sign in name for sign in "*?["):
            matches = sorted(p for p in glob.glob(name, recursive=True) if Path(p).is_file())  # noqa: PTH207 (absolute patterns)
            if not matches:
                raise UserError(f"{name}: no file matches this pattern")
            found += matches
        else:
            raise UserError(f"{name}: there is no such file or folder")
    return found


def listed_pictures(file: str, root: str | None) -> Pictures:
    """The pictures of a list file, `path label [camera]` a line.

    Paths are relative to `root`, else to the folder of the list file.

    Columns are separated by tabs where the first line has one, else by blanks. A label is any text, also with
    blanks in it.

    Raises UserError, with the line, for a line without a label and where only some lines have a camera.
    """
    folder = Path(root) if root is not None else Path(file).parent
    if not folder.is_dir():
        raise UserError(f"--root {folder} is no folder")
    lines = _lines(file)
    with_tabs = bool(lines) and "\t" in lines[0][1]
    pictures = Pictures([], [], [])
    for number, line in lines:
        fields = [each.strip() for each in line.split("\t")] if with_tabs else _columns(line)
        if len(fields) < 2 or not fields[1]:
            raise UserError(f"{file}:{number}: expected 'path label', got {line!r}")
        assert pictures.labels is not None
        assert pictures.cameras is not None
        pictures.paths.append(str(folder / fields[0]))
        pictures.labels.append(fields[1])
        if len(fields) > 2 and fields[2].lstrip("-").isdecimal():
            pictures.cameras.append(int(fields[2]))
        if len(pictures.cameras) not in (0, len(pictures.paths)):
            raise UserError(f"{file}:{number}: either every line has a camera or none")
    if not pictures.paths:
        raise UserError(f"{file}: the list is empty; expected a line 'path label' a picture")
    pictures.cameras = pictures.cameras or None
    return pictures


def folder_labels(paths: list[str]) -> list[str]:
    """The name of the folder that each picture lies in."""
    return [Path(path).resolve().parent.name for path in paths]


def _columns(line: str) -> list[str]:
    """Path, label and perhaps camera of a line with blanks: the path ends where a picture's suffix does."""
    words = line.split()
    end = next((i for i, word in enumerate(words[:-1]) if word.lower().endswith(IMAGE_SUFFIXES)), 0)
    rest = words[end + 1 :]
    path = " ".join(words[: end + 1])
    if len(rest) == 2 and all(word.lstrip("-").isdecimal() for word in rest):
        return [path, *rest]
    return [path, " ".join(rest)]


def _lines(file: str) -> list[tuple[int, str]]:
    """Lines that are not empty, stripped, with their number."""
    try:
        with open(file, encoding="utf-8-sig") as opened:
            return [(number, line.strip()) for number, line in enumerate(opened, 1) if line.strip()]
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{file} is not a text file") from None
