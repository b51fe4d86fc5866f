"""Where many pictures come from: files, folders, patterns, list files, tar and Parquet files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lookalike.core.errors import UserError
from lookalike.deploy.batch.parquet_source import ParquetFile
from lookalike.deploy.batch.source import Picture, Source, at_positions
from lookalike.deploy.batch.tar_source import TarFile, is_compressed_tar
from lookalike.images.list_files import iterate_named_list
from lookalike.images.picture_files import files_named, folder_label, pictures_inside

ARCHIVES = (".tar", ".parquet")
"""Suffixes of files that hold many pictures."""


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
        yield Picture(self.path, folder_label(self.path) if self.folder_labels else None)


@dataclass(frozen=True)
class Folder(_Files):
    """The pictures in a folder and below, see `pictures_inside`."""

    path: str
    folder_labels: bool = False

    def listing(self) -> Iterator[Picture]:
        for path in pictures_inside(self.path, archives=ARCHIVES):
            yield Picture(path, folder_label(path) if self.folder_labels else None)


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
        if Path(name).is_dir():
            found.append(Folder(name, folder_labels))
        else:
            found += [_of_file(file, folder_labels, image_column, label_column) for file in files_named(name)]
    return found


def _of_file(name: str, folder_labels: bool, image_column: str | None, label_column: str | None) -> Source:
    if is_compressed_tar(name):
        raise UserError(
            f"{name} is compressed, so that no picture in it can be read without all those before: "
            "decompress it to .tar (pictures are compressed already)"
        )
    suffix = Path(name).suffix.lower()
    if suffix not in ARCHIVES:
        return NamedFile(name, folder_labels)
    if folder_labels:
        raise UserError(f"{name} says the labels of its pictures itself: leave --folder-labels away")
    return TarFile(name, label_column) if suffix == ".tar" else ParquetFile(name, image_column, label_column)
