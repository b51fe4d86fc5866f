"""Padding: a border of given width, a canvas of given size, a square."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np

from lookalike.core.errors import UserError
from lookalike.images.operations.base import Operation, Size, colour, operations, pair

_BORDERS = {
    "constant": cv2.BORDER_CONSTANT,
    "edge": cv2.BORDER_REPLICATE,
    "reflect": cv2.BORDER_REFLECT_101,
    "symmetric": cv2.BORDER_REFLECT,
}


@operations.register("Pad")
class Pad(Operation):
    """Add a border: `padding` is one width for all sides, [left and right, top and bottom], or [left, top,
    right, bottom].

    fill: one value, or one per channel, for padding_mode `constant`; `edge` repeats the border pixel,
    `reflect` mirrors without it, `symmetric` with it. The backends give the same. The reference ignores
    padding_mode and always fills; `reference_behaviour` repeats that.
    """

    def __init__(
        self,
        padding: int | list[int],
        fill: float | list[float] = 0,
        padding_mode: Literal["constant", "edge", "reflect", "symmetric"] = "constant",
        backend: Literal["cv2", "pil"] = "pil",
        reference_behaviour: bool = False,
    ) -> None:
        self.padding = padding
        self.fill = fill
        self.padding_mode = padding_mode
        self.backend = backend
        self.reference_behaviour = reference_behaviour
        widths = [padding] if isinstance(padding, int) else list(padding)
        if len(widths) not in (1, 2, 4) or min(widths) < 0:
            raise UserError(f"Pad: padding must be 1, 2 or 4 numbers that are not negative, got {padding!r}")
        left, top, right, bottom = (widths * 4)[:4] if len(widths) < 4 else widths
        self.widths = left, top, right, bottom
        self._border = _BORDERS["constant" if reference_behaviour else padding_mode]

    def __call__(self, image: np.ndarray) -> np.ndarray:
        value = colour(self.fill, image.shape[2], "Pad: fill")
        left, top, right, bottom = self.widths
        return cv2.copyMakeBorder(image, top, bottom, left, right, self._border, value=value)

    @property
    def one_colour(self) -> bool:
        """Whether the border is of `fill` rather than of pixels of the image."""
        return bool(self._border == cv2.BORDER_CONSTANT)

    def output_size(self, size: Size | None) -> Size | None:
        if size is None:
            return None
        left, top, right, bottom = self.widths
        return size[0] + left + right, size[1] + top + bottom


@operations.register("PaddleVisionPad", "Pad_paddle_vision")
class PaddleVisionPad(Pad):
    """`Pad` as paddle.vision has it: the reference honours its padding_mode."""

    def __init__(
        self,
        padding: int | list[int],
        fill: float | list[float] = 0,
        padding_mode: Literal["constant", "edge", "reflect", "symmetric"] = "constant",
    ) -> None:
        super().__init__(padding, fill, padding_mode)


@operations.register("Padv2")
class Padv2(Operation):
    """Lay the image on a canvas of `size` ([width, height] or one number), or of the next multiples of
    `size_divisor`.

    pad_mode: 0 puts the image at the top left, 1 in the middle, 2 at the bottom right, -1 at `offsets` = [x,
    y]. The result is float32. Raises UserError when the image is larger than the canvas.
    """

    def __init__(
        self,
        size: int | list[int] | None = None,
        size_divisor: int = 32,
        pad_mode: Literal[-1, 0, 1, 2] = 0,
        offsets: list[int] | None = None,
        fill_value: float | list[float] = 127.5,
    ) -> None:
        if pad_mode == -1 and (offsets is None or len(offsets) != 2 or min(offsets) < 0):
            raise UserError(f"Padv2: pad_mode -1 needs offsets: [x, y], got {offsets!r}")
        if size_divisor < 1:
            raise UserError(f"Padv2: size_divisor must be positive, got {size_divisor}")
        self.size = size
        self.size_divisor = size_divisor
        self.pad_mode = pad_mode
        self.offsets = offsets
        self.fill_value = fill_value
        self._size = pair(size, "Padv2: size") if size else None

    def __call__(self, image: np.ndarray) -> np.ndarray:
        height, width, channels = image.shape
        canvas_width, canvas_height = self.output_size((width, height)) or (width, height)
        spare_x, spare_y = canvas_width - width, canvas_height - height
        x, y = {
            -1: tuple(self.offsets or (0, 0)),
            0: (0, 0),
            1: (spare_x // 2, spare_y // 2),
            2: (spare_x, spare_y),
        }[self.pad_mode]
        if not (0 <= x <= spare_x and 0 <= y <= spare_y):
            raise UserError(
                f"Padv2: an image of {width}x{height} does not fit a canvas of "
                f"{canvas_width}x{canvas_height} "
                f"at ({max(x, 0)}, {max(y, 0)}); resize it before"
            )
        canvas = np.empty((canvas_height, canvas_width, channels), np.float32)
        canvas[:] = colour(self.fill_value, channels, "Padv2: fill_value")
        canvas[y : y + height, x : x + width] = image
        return canvas

    def output_size(self, size: Size | None) -> Size | None:
        if self._size or size is None:
            return self._size
        step = self.size_divisor
        return -(-size[0] // step) * step, -(-size[1] // step) * step


@operations.register("PadSquare")
class PadSquare(Operation):
    """Lay the image in the middle of the smallest square that holds it, so that resizing keeps its
    proportions.

    fill: one value or one per channel, white by default, as products and logos mostly stand on white.
    """

    scale_free = True

    def __init__(self, fill: float | list[float] = 255) -> None:
        self.fill = fill

    def __call__(self, image: np.ndarray) -> np.ndarray:
        height, width, channels = image.shape
        side = max(height, width)
        top, left = (side - height) // 2, (side - width) // 2
        value = colour(self.fill, channels, "PadSquare: fill")
        return cv2.copyMakeBorder(
            image, top, side - height - top, left, side - width - left, cv2.BORDER_CONSTANT, value=value
        )

    def output_size(self, size: Size | None) -> Size | None:
        return size and (max(size), max(size))
