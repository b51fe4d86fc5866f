"""Resizing: ResizeImage with sizes as [width, height], Resize with sizes as [height, width]."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
from PIL import Image

from lookalike.core.errors import UserError
from lookalike.images.operations.base import Operation, Size, operations, pair

Backend = Literal["cv2", "pil"]
Interpolation = Literal["nearest", "bilinear", "area", "bicubic", "lanczos", "box", "hamming"]

_CV2 = {
    "nearest": cv2.INTER_NEAREST,
    "bilinear": cv2.INTER_LINEAR,
    "area": cv2.INTER_AREA,
    "bicubic": cv2.INTER_CUBIC,
    "lanczos": cv2.INTER_LANCZOS4,
}
_PIL = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "box": Image.Resampling.BOX,
    "lanczos": Image.Resampling.LANCZOS,
    "hamming": Image.Resampling.HAMMING,
}


def resize(
    image: np.ndarray, size: Size, interpolation: str = "bilinear", backend: str = "cv2"
) -> np.ndarray:
    """Resize (H, W, C) to size = (width, height).

    cv2: `bilinear`, `bicubic` and `lanczos` look at a fixed neighbourhood and alias when shrinking; `area`
    averages. pil: all but `nearest` average over what they shrink. uint8 stays uint8, float32 stays float32.
    """
    if (image.shape[1], image.shape[0]) == tuple(size):
        return image
    if backend == "cv2":
        resized = cv2.resize(image, size, interpolation=_CV2[interpolation])
        return resized if resized.ndim == image.ndim else resized[:, :, None]
    if image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3:
        return np.array(Image.fromarray(image).resize(size, _PIL[interpolation]))
    planes = [
        np.array(Image.fromarray(np.ascontiguousarray(plane)).resize(size, _PIL[interpolation]))
        for plane in np.moveaxis(image, 2, 0)
    ]
    return np.stack(planes, axis=2)


def check_interpolation(name: str, interpolation: str | None, backend: str) -> str:
    """The interpolation, `bilinear` where none is given. Raises UserError when the backend does not have
    it.
    """
    known = _CV2 if backend == "cv2" else _PIL
    chosen = interpolation or "bilinear"
    if chosen not in known:
        other = "pil" if backend == "cv2" else "cv2"
        raise UserError(
            f"{name}: interpolation '{chosen}' does not exist with backend {backend} (known: "
            f"{', '.join(known)}); "
            f"set backend: {other} or choose another"
        )
    return chosen


@operations.register("ResizeImage")
class ResizeImage(Operation):
    """Resize to `size` ([width, height] or one number for both), or so that the short side is `resize_short`,
    which wins.

    backend cv2 (default) or pil. return_numpy is accepted and changes nothing: images are arrays throughout.
    """

    def __init__(
        self,
        size: int | list[int] | None = None,
        resize_short: int | None = None,
        interpolation: Interpolation | None = None,
        backend: Backend = "cv2",
        return_numpy: bool = True,
    ) -> None:
        if not size and not resize_short:
            raise UserError("ResizeImage needs 'size' or 'resize_short'")
        self.size = size
        self.resize_short = resize_short
        self.interpolation = interpolation
        self.backend = backend
        self.return_numpy = return_numpy
        self._interpolation = check_interpolation("ResizeImage", interpolation, backend)
        self._size = pair(size, "ResizeImage: size") if size and not resize_short else None

    def __call__(self, image: np.ndarray) -> np.ndarray:
        size = self.output_size((image.shape[1], image.shape[0]))
        assert size
        return resize(image, size, self._interpolation, self.backend)

    def output_size(self, size: Size | None) -> Size | None:
        if not self.resize_short:
            return self._size
        if size is None:
            return None
        ratio = float(self.resize_short) / min(size)
        return round(size[0] * ratio), round(size[1] * ratio)

    def wanted_size(self, size: Size) -> Size | None:
        return self.output_size(size)


@operations.register("Resize")
class Resize(Operation):
    """Resize to `size` = [height, width], or so that the short side is `size` when it is one number (the long
    side is cut to a whole number).

    backend cv2 (default) or pil. The reference takes pil for a Pillow image and cv2 for an array; here images
    are arrays, so write `backend: pil` for the former.
    """

    def __init__(
        self,
        size: int | list[int],
        interpolation: Interpolation = "bilinear",
        backend: Backend = "cv2",
    ) -> None:
        self.size = size
        self.interpolation = interpolation
        self.backend = backend
        check_interpolation("Resize", interpolation, backend)
        height, width = pair(size, "Resize: size")
        self._size = (width, height)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        size = self.output_size((image.shape[1], image.shape[0]))
        assert size
        return resize(image, size, self.interpolation, self.backend)

    def output_size(self, size: Size | None) -> Size | None:
        if not isinstance(self.size, int):
            return self._size
        if size is None:
            return None
        width, height = size
        if width < height:
            return self.size, max(1, int(self.size * height / width))
        return max(1, int(self.size * width / height)), self.size

    def wanted_size(self, size: Size) -> Size | None:
        return self.output_size(size)
