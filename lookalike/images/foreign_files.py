"""What a file is that is no picture, or one that nothing here reads, by its first bytes."""

from __future__ import annotations

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
