"""What a file is that is no picture, or one that nothing here reads, by its first bytes; and how many of
those a folder holds.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from lookalike.core.log import warn_once

_NOT_TAKEN = frozenset((
    ".heic", ".heif", ".hif", ".jxl", ".jxr", ".j2k", ".jpx", ".svg", ".svgz", ".psd", ".psb", ".xcf",
    ".eps", ".ico", ".tga", ".exr", ".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raf", ".rw2",
))  # fmt: skip
_WITHOUT_SUFFIX = "without a suffix"
_HEIC = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"))
_CONVERT = "convert it to JPEG or PNG first"
_STARTS = (
    (b"<!doctype html", "it is a web page: was it downloaded from an address that wants a login?"),
    (b"<html", "it is a web page: was it downloaded from an address that wants a login?"),
    (b"<svg", f"it is an SVG drawing: {_CONVERT}"),
    (b"%pdf", f"it is a PDF document: {_CONVERT}"),
    (b"\xff\x0a", f"it is a JPEG XL picture: {_CONVERT}"),
    (b"\x00\x00\x00\x0cjxl ", f"it is a JPEG XL picture: {_CONVERT}"),
    (b"version https://git-lfs", "it stands for a file of Git LFS: fetch it with `git lfs pull`"),
    (b"pk\x03\x04", "it is a ZIP archive"),
)


def foreign(data: bytes) -> str | None:
    """What these bytes are the beginning of, and what to do; None where that is not known."""
    if data[4:8] == b"ftyp" and data[8:12] in _HEIC:
        return f"it is a HEIC picture, as phones take them: {_CONVERT}"
    # a picture drawn by a program often has a line of XML before it
    start = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith(b"<?xml") and b"<svg" in start:
        start = start[start.index(b"<svg") :]
    for beginning, what in _STARTS:
        if start.startswith(beginning):
            return what
    if start and all(byte >= 32 or byte in b"\t\r\n" for byte in start):
        return "it is a text file"
    return None


class LeftAside:
    """The files of a folder that are pictures and are not taken from it: of a kind that nobody expects there
    or nothing here reads (known by its suffix), or without a suffix (known by the first bytes). Named one by
    one, those that Pillow reads are taken. Hidden files do not count.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._counts: Counter[str] = Counter()
        self._first = ""

    def add(self, path: str) -> None:
        """Count a file whose suffix is none of `IMAGE_SUFFIXES`, if it is such a one."""
        file = Path(path)
        suffix = file.suffix.lower()
        if file.name.startswith(".") or (suffix and suffix not in _NOT_TAKEN):
            return
        if not suffix and not _is_picture(_beginning(path)):
            return
        self._counts[suffix or _WITHOUT_SUFFIX] += 1
        self._first = self._first or path

    def warn(self) -> None:
        """One line for the folder, where there is one to count."""
        if self._counts:
            warn_once(f"{self._folder}: {self._told()}")

    def why_nothing(self) -> str:
        """What follows after the sentence that a folder holds no picture; empty where nothing was left."""
        if not self._counts:
            return ""
        what = "give it its suffix" if not Path(self._first).suffix else foreign(_beginning(self._first))
        return f"; {self._told()}" + (f"; {self._first}: {what}" if what else "")

    def _told(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self._counts.items()))
        total = self._counts.total()
        return f"{total} {'file was' if total == 1 else 'files were'} left aside: {kinds}"


def _beginning(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(512)
    except OSError:  # a link that leads nowhere, say: nothing tells that it is a picture
        return b""


def _is_picture(data: bytes) -> bool:
    return (
        data.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"II*\0", b"MM\0*"))
        or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")
        or (data[4:8] == b"ftyp" and data[8:12] in _HEIC | {b"avif"})
    )
