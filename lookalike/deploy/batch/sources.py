"""Where many pictures come from: files, folders, patterns, list files, tar and Parquet files."""

from __future__ import annotations

import glob
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lookalike.core.errors import UserError
from lookalike.deploy.batch.parquet_source import ParquetFile
from lookalike.deploy.batch.source import Picture, Source, at_positions
from lookalike.deploy.batch.tar_source import TarFile, is_compressed_tar
from lookalike.images.foreign_files import LeftAside
from lookalike.images.list_files import iterate_named_list
from lookalike.images.records import IMAGE_SUFFIXES


class _Files(ABC):
    """What all sources have in common whose pictures are files of their own."""

    @abstractmethod
    def listing(self) -> Iterator[Picture]:
        """The pictures, in their order."""

    def pictures(self, parts: Sequence[range]) -> Iterator[Picture]:
        return at_positions(self.listing(), parts)

    def state(self) -> str:
        return ""


@dataclass(frozen=True)
class NamedFile(_Files):
    """One picture, named by its path."""

    path: str
    folder_labels: bool = False

    def listing(self) -> Iterator[Picture]:
        yield Picture(self.path, _folder_label(self.path) if self.folder_labels else None)


@dataclass(frozen=True)
class Folder(_Files):
    """The pictures in a folder and below, known by their suffix, sorted by path.

    One folder at a time is held in memory. Links to files are followed, and those that lead nowhere are
    broken pictures; links to folders are not followed.
    """

    path: str
    folder_labels: bool = False

    def listing(self) -> Iterator[Picture]:
        empty, aside = True, LeftAside(self.path)
        for path in _walk(self.path):
            if path.lower().endswith(IMAGE_SUFFIXES):
                empty = False
                yield Picture(path, _folder_label(path) if self.folder_labels else None)
            else:
                aside.add(path)
        if empty:
            raise UserError(self._nothing(aside))
        aside.warn()

    def _nothing(self, aside: LeftAside) -> str:
        told = f"{self.path}: there is no picture in this folder (looked for {', '.join(IMAGE_SUFFIXES)})"
        for suffix in (".tar", ".parquet"):
            if any(path.endswith(suffix) for path in _walk(self.path)):
                return f"{told}; for the {suffix} files in it write '{Path(self.path) / f'*{suffix}'}'"
        return told + aside.why_nothing()


@dataclass(frozen=True)
class ListFile(_Files):
    """The pictures of a list file, `path label [camera]` a line, read line by line."""

    file: str
    root: str | None = None

    def listing(self) -> Iterator[Picture]:
        for line in iterate_named_list(self.file, self.root):
            yield Picture(line.path, line.label, line.camera)


def open_sources(
    names: Iterable[str],
    *,
    folder_labels: bool = False,
    image_column: str | None = None,
    label_column: str | None = None,
) -> list[Source]:
    """The sources that the words of a command line name: files, folders, patterns, `.tar`, `.parquet`.

    folder_labels: the label of a picture is the name of its folder. image_column and label_column: of
    Parquet; label_column also names the key of a label in the JSON of a tar.

    Raises UserError for a name that is neither a file nor a folder, and for a pattern without a match.
    """
    found: list[Source] = []
    for name in names:
        path = Path(name)
        if path.is_dir():
            found.append(Folder(name, folder_labels))
        elif path.exists():
            found.append(_of_file(name, folder_labels, image_column, label_column))
        elif any(sign in name for sign in "*?["):
            matches = sorted(p for p in glob.glob(name, recursive=True) if Path(p).is_file())  # noqa: PTH207 (absolute patterns)
            if not matches:
                raise UserError(f"{name}: no file matches this pattern")
            found += [_of_file(match, folder_labels, image_column, label_column) for match in matches]
        else:
            raise UserError(f"{name}: there is no such file or folder")
    return found


def _of_file(name: str, folder_labels: bool, image_column: str | None, label_column: str | None) -> Source:
    if is_compressed_tar(name):
        raise UserError(
            f"{name} is compressed, so that no picture in it can be read without all those before: "
            "decompress it to .tar (pictures are compressed already)"
        )
    suffix = Path(name).suffix.lower()
    if suffix not in (".tar", ".parquet"):
        return NamedFile(name, folder_labels)
    if folder_labels:
        raise UserError(f"{name} says the labels of its pictures itself: leave --folder-labels away")
    return TarFile(name, label_column) if suffix == ".tar" else ParquetFile(name, image_column, label_column)


def _walk(folder: str) -> Iterator[str]:
    """Paths of the files below a folder, in the order in which all of them together would be sorted."""
    try:
        with os.scandir(folder) as entries:
            inside = [(_sorted_as(entry), entry.is_dir(follow_symlinks=False), entry) for entry in entries]
    except OSError as error:
        raise UserError(f"{folder} cannot be read: {error.strerror or error}") from None
    for _, is_folder, entry in sorted(inside, key=lambda each: each[0]):
        if is_folder:
            yield from _walk(entry.path)
        elif entry.is_symlink() and not os.path.exists(entry.path):  # noqa: PTH110 (a str already)
            yield entry.path  # whoever reads it says that it leads nowhere
        elif entry.is_file():
            yield entry.path


def _sorted_as(entry: os.DirEntry[str]) -> str:
    """`a-b/x` stands before `a/x` where paths are compared, so a folder is compared with its slash."""
    return f"{entry.name}{os.sep}" if entry.is_dir(follow_symlinks=False) else entry.name


def _folder_label(path: str) -> str:
    return Path(path).resolve().parent.name
