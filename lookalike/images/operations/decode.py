"""DecodeImage: from a file's bytes to pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from lookalike.core.errors import UserError
from lookalike.images.decode import Wanted, as_rgb, decode_image
from lookalike.images.operations.base import Operation, Size, operations


@operations.register("DecodeImage")
class DecodeImage(Operation):
    """Decode a file, or take an image that is decoded already (array in RGB order, Pillow image): (H, W, 3)
    uint8.

    to_rgb: False gives BGR. channel_first: (3, H, W). backend: `pil` decodes with Pillow. to_np is accepted
    and changes nothing: images are arrays throughout. The EXIF orientation is always applied; the reference's
    `pil` does not.

    scaled: decode a JPEG that is much larger than what the next operation resizes it to at 1/2, 1/4 or 1/8 of
    its size, never below that. It takes a fraction of the time, and averages over pixels that a bilinear
    resize would have skipped, so features differ a little: it belongs to the preprocessing that a model is
    trained and scored with. Other files, pictures with boxes and pictures in memory are as without it.
    """

    takes = None
    wanted: Wanted | None = None
    """What the operations that follow need of a picture, where `scaled` asks for that."""

    def __init__(
        self,
        to_rgb: bool = True,
        channel_first: bool = False,
        backend: Literal["cv2", "pil"] = "cv2",
        to_np: bool = True,
        scaled: bool = False,
    ) -> None:
        if scaled and backend != "cv2":
            raise UserError("DecodeImage: scaled needs backend: cv2")
        self.to_rgb = to_rgb
        self.channel_first = channel_first
        self.backend = backend
        self.to_np = to_np
        self.scaled = scaled
        if channel_first:
            self.gives = "chw"  # type: ignore[misc]  # the one operation whose layout is an argument

    def fit(self, following: Sequence[Any]) -> None:
        """Look at the operations that follow for the size that they resize to, where `scaled` is set.

        Raises UserError where none of them resizes, or one before it counts pixels.
        """
        if self.scaled:
            self.wanted = wanted_by(following)

    def read(self, file: str | Path | bytes) -> np.ndarray:
        """The picture of a file, or of its bytes: RGB (H, W, 3) uint8. Raises BrokenImage."""
        return decode_image(file, backend=self.backend, wanted=self.wanted)

    def __call__(self, image: str | Path | bytes | np.ndarray | Image.Image) -> np.ndarray:
        is_file = isinstance(image, (str, Path, bytes, bytearray, memoryview))
        pixels = self.read(image) if is_file else as_rgb(image)  # type: ignore[arg-type]
        if not self.to_rgb:
            pixels = np.ascontiguousarray(pixels[:, :, ::-1])
        return np.ascontiguousarray(pixels.transpose(2, 0, 1)) if self.channel_first else pixels


def wanted_by(following: Sequence[Any]) -> Wanted:
    """The size in which a picture is needed, given its size, by operations of which one resizes it.

    Those before that one must not depend on the scale of a picture, as flips or PadSquare do not. Raises
    UserError otherwise.
    """
    passed: list[Any] = []
    for operation in following:
        if getattr(operation, "scale_free", False):
            passed.append(operation)
            continue
        if getattr(operation, "wanted_size", lambda _: None)((64, 64)) is None:
            raise UserError(
                f"DecodeImage: scaled needs an operation that resizes right after it, and "
                f"{type(operation).__name__} is none"
            )
        return _behind(passed, operation)
    raise UserError("DecodeImage: scaled needs an operation that resizes after it")


def _behind(passed: Sequence[Any], resizing: Any) -> Wanted:
    def wanted(size: Size) -> Size:
        before = size
        for operation in passed:
            before = operation.output_size(before) if hasattr(operation, "output_size") else before
        needed = resizing.wanted_size(before)
        # what was padded is resized with its padding: as much of the picture itself is needed in proportion
        return math.ceil(needed[0] * size[0] / before[0]), math.ceil(needed[1] * size[1] / before[1])

    return wanted
