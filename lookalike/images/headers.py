"""What the first bytes of a JPEG or PNG file say, so that the plain ones take the fastest way through the
decoder.
"""

from __future__ import annotations

from typing import NamedTuple

_JPEG_WITHOUT_LENGTH = frozenset((0x01, 0xD8, *range(0xD0, 0xD8)))
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


class Header(NamedTuple):
    """Size in pixels; `plain`: 8-bit grey or colour without transparency, whole; `deep`: with alpha or 16
    bit, not rotated.
    """

    width: int
    height: int
    plain: bool
    deep: bool


def read_header(data: bytes) -> Header | None:
    """The header of a JPEG or PNG file, None for anything else or when it is damaged."""
    if data.startswith(b"\xff\xd8\xff"):
        return _jpeg(data)
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png(data)
    return None


def _jpeg(data: bytes) -> Header | None:
    """Walk over the segments to the frame header (SOFn): height, width, number of components. Source: ITU
    T.81, annex B.
    """
    position, end = 2, len(data) - 9
    while position < end:
        if data[position] != 0xFF:
            return None
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
        elif marker in _JPEG_WITHOUT_LENGTH:
            position += 2
        elif marker in _JPEG_FRAMES:
            height = data[position + 5] << 8 | data[position + 6]
            width = data[position + 7] << 8 | data[position + 8]
            components = data[position + 9]
            # Within the scans 0xFF is always followed by 0x00 or a restart marker, so an end marker after the
            # frame header
            # means that the file is whole, whatever a camera appended to it. Some decoders paint the rest
            # grey without it.
            whole = data.endswith(b"\xff\xd9") or data.rfind(b"\xff\xd9", position) > 0
            return Header(width, height, components in (1, 3) and data[position + 4] == 8 and whole, False)
        else:
            position += 2 + (data[position + 2] << 8 | data[position + 3])
    return None


def _png(data: bytes) -> Header | None:
    """Read the IHDR chunk and look for tRNS and eXIf before the pixels. Source: W3C PNG, third edition."""
    if len(data) < 33 or data[12:16] != b"IHDR":
        return None
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    depth, colour = data[24], data[25]
    pixels = data.find(b"IDAT", 33)
    whole = pixels > 0 and data.rfind(b"IEND", pixels) > 0
    transparent = data.find(b"tRNS", 33, pixels) > 0
    rotated = data.find(b"eXIf", 33) > 0
    animated = data.find(b"acTL", 33, pixels) > 0
    plain = whole and depth <= 8 and colour in (0, 2, 3) and not (transparent or animated or rotated)
    # cv2 reads grey with a transparent value as opaque and 16-bit palettes do not exist, so only these three
    # are left to it
    deep = whole and not (transparent or animated or rotated) and (colour in (4, 6) or depth == 16)
    return Header(width, height, plain, deep)
