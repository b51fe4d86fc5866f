"""Argument types and small helpers that several augmentations share."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np

from lookalike.core.errors import UserError
from lookalike.core.numbers import Number

Size = int | tuple[int, int]
"""An edge of a square or [width, height], the order of the reference's own operations."""

Range = Number | tuple[Number, Number]
"""One number, or the two ends of an interval."""

Fill = Number | list[Number]
"""One grey value, or one value a channel."""

Interpolation = Literal["nearest", "bilinear", "bicubic", "area", "lanczos", "box", "hamming", "random"]
WarpInterpolation = Literal["nearest", "bilinear", "bicubic", "lanczos", "random"]
Backend = Literal["cv2", "pil"]

_WARP = {
    "nearest": cv2.INTER_NEAREST,
    "bilinear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
    "lanczos": cv2.INTER_LANCZOS4,
}


def width_and_height(size: Size) -> tuple[int, int]:
    """[width, height] of a size, one number standing for a square. Raises UserError for a side below 1."""
    width, height = (size, size) if isinstance(size, int) else size
    if width < 1 or height < 1:
        raise UserError(f"size must be positive, got {size}")
    return width, height


def interval(value: Range, name: str) -> tuple[float, float]:
    """(-value, value), or the two ends as they stand. Raises UserError when they are the wrong way round."""
    low, high = value if isinstance(value, tuple) else (-value, value)
    if low > high:
        raise UserError(f"{name} must be one number of at least 0 or [low, high], got {value}")
    return low, high


def probability(value: float, name: str = "prob") -> float:
    """The value itself. Raises UserError when it is negative; 1 and above mean always."""
    if not value >= 0:
        raise UserError(f"{name} must be at least 0, got {value}")
    return value


def interpolation_of(name: str | None, rng: np.random.Generator) -> str:
    """The name itself, bilinear where none is given; `random` draws bilinear or bicubic."""
    if name == "random":
        return "bilinear" if rng.random() < 0.5 else "bicubic"
    return name or "bilinear"


def warp_flag(name: str, rng: np.random.Generator) -> int:
    """OpenCV's flag of an interpolation for warps."""
    return _WARP[interpolation_of(name, rng)]


def border_value(fill: Fill, channels: int) -> tuple[float, ...]:
    """The fill as OpenCV takes it. Raises UserError when its length is not the number of channels."""
    values = fill if isinstance(fill, list) else [fill] * channels
    if len(values) != channels:
        raise UserError(f"fill must be one number or {channels} (one a channel), got {fill}")
    return tuple(float(v) for v in values)


def require_uint8(image: np.ndarray, name: str) -> None:
    """Raises UserError for an image that is not uint8 (H, W, 3), since it is normalised already."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise UserError(
            f"{name} works on colour images of 0..255, (height, width, 3), got {image.dtype} {image.shape}: "
            "put it before NormalizeImage, ToTensor and ToCHWImage"
        )


def is_channel_first(image: np.ndarray) -> bool:
    """Whether a 3-D array is (C, H, W): its first side counts channels and its last does not."""
    return image.ndim == 3 and image.shape[0] in (1, 3, 4) and image.shape[2] not in (1, 3, 4)
