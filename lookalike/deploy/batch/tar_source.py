"""Pictures in a tar file, as WebDataset writes them: members of one key are one picture with its label.

    shoe/0001.jpg  shoe/0001.cls  shoe/0001.json

The key is `shoe/0001`; what follows the first dot of a file's name is the kind of a member. Nothing is
unpacked: the place of each picture in the file is noted, and whoever decodes it reads it there.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from lookalike.core.errors import BrokenImage, UserError
from lookalike.core.log import warn_once
from lookalike.deploy.batch.source import Picture, at_positions, file_state
from lookalike.images.records import IMAGE_SUFFIXES

LABEL_KINDS = ("cls", "json", "txt")
"""Members that may say the label; the first of them that does counts."""
_PART = 1 << 20
"""Bytes that are looked at together behind the end."""
_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz", ".tbz2", ".tar.xz", ".txz", ".tar.zst")


def is_compressed_tar(name: str) -> bool:
    """Whether a name is that of a compressed tar file."""
    return name.lower().endswith(_COMPRESSED)


@dataclass(frozen=True, slots=True)
class TarMember(Picture):
    """A picture inside a tar file, named `FILE.tar#MEMBER`: `size` bytes from `start` on."""

    file: str = ""
    start: int = 0
    size: int = 0

    def read(self) -> bytes:
        try:
            with open(self.file, "rb") as file:
                file.seek(self.start)
                data = file.read(self.size)
        except OSError as error:
            raise BrokenImage(self.name, f"cannot be read: {error.strerror or error}") from None
        if len(data) != self.size:
            raise BrokenImage(self.name, "the tar file ends before the picture does")
        return data


@dataclass(frozen=True, slots=True)
class TarLink(Picture):
    """A member that is a link and has the name of a picture."""

    target: str = ""

    def read(self) -> bytes:
        raise BrokenImage(self.name, _link_told(self.target))


@dataclass
class _Sample:
    """The members of one key."""

    key: str
    pictures: dict[str, tarfile.TarInfo] = field(default_factory=dict)
    labels: dict[str, tarfile.TarInfo] = field(default_factory=dict)


@dataclass(frozen=True)
class TarFile:
    """The pictures of one tar file, in the order of its members.

    label_key: the key of the label in a JSON member; `label` where None, and then it may be missing.
    """

    path: str
    label_key: str | None = None

    def listing(self) -> Iterator[Picture]:
        """Raises UserError where there is no picture, the file is no tar or ends in the middle of a member,
        two samples have one key, one has two pictures, or only some have a label.
        """
        labelled: bool | None = None
        try:
            with tarfile.open(self.path, "r:") as archive:
                for sample in self._samples(archive):
                    picture = self._picture(sample)
                    if picture is None:
                        continue
                    name, label = f"{self.path}#{picture.name}", self._label(archive, sample)
                    if labelled is not None and labelled != (label is not None):
                        raise UserError(
                            f"{name} has {'no' if labelled else 'a'} label, and the pictures before it have "
                            f"{'one' if labelled else 'none'}: in a tar file every one has a label, or none"
                        )
                    labelled = label is not None
                    if picture.isreg():
                        yield TarMember(name, label, None, self.path, picture.offset_data, picture.size)
                    else:
                        yield TarLink(name, label, None, picture.linkname)
        except (tarfile.TarError, OSError, EOFError) as error:
            raise UserError(f"{self.path} is no .tar file or is damaged: {error}") from None
        if labelled is None:
            raise UserError(
                f"{self.path}: there is no picture in it (looked for {', '.join(IMAGE_SUFFIXES)})"
            )

    def pictures(self, parts: Sequence[range]) -> Iterator[Picture]:
        return at_positions(self.listing(), parts)

    def state(self) -> str:
        return file_state(self.path)

    def _samples(self, archive: tarfile.TarFile) -> Iterator[_Sample]:
        """Members that follow each other and have one key, together."""
        sample: _Sample | None = None
        keys: set[str] = set()
        for member in self._members(archive):
            folder, slash, file = member.name.rpartition("/")
            stem, _, kind = file.partition(".")
            if not stem or not (member.isreg() or member.islnk() or member.issym()):
                continue  # a folder, or what systems leave behind, such as ._0001.jpg
            key = folder + slash + stem
            if sample is None or sample.key != key:
                if sample is not None:
                    yield sample
                if key in keys:
                    raise UserError(
                        f"{self.path} holds '{key}' twice, at different places: members of one key must "
                        "follow each other"
                    )
                keys.add(key)
                sample = _Sample(key)
            kind = kind.lower()
            group = sample.labels if kind in LABEL_KINDS else sample.pictures
            if kind in group:
                raise UserError(f"{self.path} holds two members of the name '{member.name}'")
            if group is sample.labels or f".{kind}".endswith(IMAGE_SUFFIXES):
                group[kind] = member
        if sample is not None:
            yield sample

    def _members(self, archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
        while (member := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # it keeps all that it has seen
            if member.issparse():
                raise tarfile.ReadError(f"{member.name} is stored with holes (sparse)")
            yield member
        # the module takes whatever is no header for the end of the file
        with open(self.path, "rb") as file:
            file.seek(archive.offset)
            after = file.read(tarfile.BLOCKSIZE)
            more = any(part.strip(b"\0") for part in iter(lambda: file.read(_PART), b""))
        if not after.strip(b"\0") and more:
            raise tarfile.ReadError(
                f"its end is marked at byte {archive.offset}, but something follows: a hole in the file, or "
                "two archives in one"
            )
        if after.strip(b"\0"):
            raise tarfile.ReadError(f"no member begins at byte {archive.offset}")
        if not after:
            warn_once(
                f"{self.path} has no mark of its end: perhaps it was cut off and holds less than it should"
            )

    def _picture(self, sample: _Sample) -> tarfile.TarInfo | None:
        """The picture of a sample: `KEY.jpg`, or the only one that is there (`KEY.1.jpg`)."""
        plain = [member for kind, member in sample.pictures.items() if f".{kind}" in IMAGE_SUFFIXES]
        found = plain or list(sample.pictures.values())
        if len(found) > 1:
            raise UserError(
                f"{self.path} holds two pictures of the key '{sample.key}', {found[0].name} and "
                f"{found[1].name}: name them differently before the first dot"
            )
        return found[0] if found else None

    def _label(self, archive: tarfile.TarFile, sample: _Sample) -> str | None:
        for kind in LABEL_KINDS:
            if kind not in sample.labels or (self.label_key is not None and kind != "json"):
                continue
            member = sample.labels[kind]
            if not member.isreg():
                raise UserError(f"{self.path}#{member.name} {_link_told(member.linkname)}")
            file = archive.extractfile(member)
            assert file is not None
            try:
                text = file.read().decode()
                label = (
                    _of_json(json.loads(text), self.label_key or "label") if kind == "json" else text.strip()
                )
            except ValueError as error:
                raise UserError(f"{self.path}#{member.name} cannot be read as a label: {error}") from None
            if label:
                return label
        if self.label_key is not None:
            raise UserError(f"{self.path}: the JSON of '{sample.key}' says no '{self.label_key}'")
        return None


def _link_told(target: str) -> str:
    return (
        f"is a link to {target}, which is not followed: 'tar --dereference --hard-dereference' stores what "
        "links lead to"
    )


def _of_json(value: Any, key: str) -> str | None:
    """What JSON says under a key, as the text of a label; None where it says nothing there."""
    found = value.get(key) if isinstance(value, dict) else None
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, (int, str)):
        raise ValueError(f"'{key}' must be a whole number or text, got {json.dumps(found)[:60]}")
    return str(found)
