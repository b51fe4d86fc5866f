"""How large a picture may be, and how to raise that."""

from __future__ import annotations

import os

from lookalike.core.errors import BrokenImage, UserError

MAX_PIXELS = 178_956_970
"""Pictures with more pixels are refused: a file of a few kilobytes can claim gigabytes (Pillow's limit for a
'bomb').
"""

VARIABLE = "LOOKALIKE_MAX_PIXELS"
"""The environment variable that names another limit. It holds in every process that is started from there,
so for training as well, and is no part of the preprocessing: pixels do not depend on it.
"""


def max_pixels() -> int:
    """The limit. Raises UserError where the environment variable is no positive whole number."""
    told = os.environ.get(VARIABLE)
    if told is None:
        return MAX_PIXELS
    digits = told.replace("_", "").replace(",", "").strip()
    if not digits.isdecimal() or int(digits) < 1:
        raise UserError(f"{VARIABLE} must be a number of pixels such as 400000000, and is '{told}'")
    return int(digits)


def refuse_huge(name: str, width: int, height: int) -> None:
    """Raise BrokenImage for a picture of more pixels than the limit."""
    limit = max_pixels()
    if width * height > limit:
        raise BrokenImage(
            name,
            f"{width}x{height} pixels are more than the {limit:,} that a picture may have; if it is to be "
            f"trusted, set {VARIABLE}={width * height}",
        )
