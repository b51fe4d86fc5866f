"""Pictures that lie side by side in one file without a header, as in the binary version of CIFAR.

The address of such a picture is `FILE.bin#BYTE`: where its pixels begin. It stands wherever the path of an
image may stand.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from lookalike.core.errors import BrokenImage

SIDE = 32
PIXELS = 3 * SIDE * SIDE
"""Bytes of a picture: a plane each of red, green and blue, row by row."""

_ADDRESS = re.compile(r"(.+\.bin)#(\d+)")


def packed_address(path: str) -> tuple[str, int] | None:
    """File and first byte of a packed picture; None for the path of an ordinary file."""
    found = _ADDRESS.fullmatch(path) if "#" in path else None
    return None if found is None else (found[1], int(found[2]))


def read_packed(file: str, start: int) -> np.ndarray:
    """The picture that begins there: (32, 32, 3) RGB uint8. Raises BrokenImage where the file ends before."""
    try:
        with Path(file).open("rb") as stream:
            stream.seek(start)
            data = stream.read(PIXELS)
    except OSError as error:
        raise BrokenImage(f"{file}#{start}", error.strerror or str(error)) from None
    if len(data) != PIXELS:
        raise BrokenImage(f"{file}#{start}", "the file ends before the picture does")
    planes = np.frombuffer(data, np.uint8).reshape(3, SIDE, SIDE)
    return np.ascontiguousarray(planes.transpose(1, 2, 0))
