"""Pictures as a command line names them: files, folders, patterns, list files."""

from __future__ import annotations

import glob
from dataclasses import dataclass
from pathlib import Path

from lookalike.core.errors import UserError
from lookalike.images import IMAGE_SUFFIXES, read_records


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

    Paths are relative to `root`, else to the list file.
    """
    folder = root if root is not None else str(Path(file).parent)
    has_cameras = _columns(file) > 2
    section = {
        "name": "VeriWild" if has_cameras else "ImageNetDataset",
        "image_root": folder,
        "cls_label_path": file,
    }
    records = read_records(section)
    cameras = None if records.cameras is None else [int(c) for c in records.cameras]
    return Pictures(list(records.paths), [str(int(label)) for label in records.labels], cameras)


def folder_labels(paths: list[str]) -> list[str]:
    """The name of the folder that each picture lies in."""
    return [Path(path).resolve().parent.name for path in paths]


def _columns(file: str) -> int:
    try:
        with open(file, encoding="utf-8-sig") as opened:
            first = next((line.split() for line in opened if line.strip()), [])
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{file} is not a text file") from None
    return len(first) if len(first) == 3 and first[1].lstrip("-").isdigit() else 2
