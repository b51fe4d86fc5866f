"""DecodeImage: from a file's bytes to pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from lookalike.images.decode import as_rgb, decode_image
from lookalike.images.operations.base import Operation, operations


@operations.register("DecodeImage")
class DecodeImage(Operation):
    """Decode a file, or take an image that is decoded already (array in RGB order, Pillow image): (H, W, 3)
    uint8.

    to_rgb: False gives BGR. channel_first: (3, H, W). backend: `pil` decodes with Pillow. to_np is accepted
    and changes nothing: images are arrays throughout. The EXIF orientation is always applied; the reference's
    `pil` does not.
    """

    takes = None

    def __init__(
        self,
        to_rgb: bool = True,
        channel_first: bool = False,
        backend: Literal["cv2", "pil"] = "cv2",
        to_np: bool = True,
    ) -> None:
        self.to_rgb = to_rgb
        self.channel_first = channel_first
        self.backend = backend
        self.to_np = to_np
        if channel_first:
            self.gives = "chw"  # type: ignore[misc]  # the one operation whose layout is an argument

    def __call__(self, image: str | Path | bytes | np.ndarray | Image.Image) -> np.ndarray:
        pixels = _pixels(image, self.backend)
        if not self.to_rgb:
            pixels = np.ascontiguousarray(pixels[:, :, ::-1])
        return np.ascontiguousarray(pixels.transpose(2, 0, 1)) if self.channel_first else pixels


def _pixels(image: Any, backend: Literal["cv2", "pil"]) -> np.ndarray:
    if isinstance(image, (str, Path, bytes, bytearray, memoryview)):
        return decode_image(image, backend=backend)  # type: ignore[arg-type]
    return as_rgb(image)
