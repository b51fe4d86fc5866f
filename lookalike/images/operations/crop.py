"""Crops from the middle."""

from __future__ import annotations

import math

import numpy as np

from lookalike.core.errors import UserError
from lookalike.images.operations.base import Operation, Size, operations, pair
from lookalike.images.operations.resize import Interpolation, check_interpolation, resize


def centre_crop(image: np.ndarray, size: Size, top: int, left: int) -> np.ndarray:
    """Cut (H, W, C) to size = (width, height) from top and left; beyond the image there is black."""
    width, height = size
    if height > image.shape[0] or width > image.shape[1]:
        before = (max(-top, 0), max(-left, 0))
        after = (max(height - image.shape[0] - before[0], 0), max(width - image.shape[1] - before[1], 0))
        image = np.pad(image, ((before[0], after[0]), (before[1], after[1]), (0, 0)))
        top, left = max(top, 0), max(left, 0)
    return image[top : top + height, left : left + width]


@operations.register("CropImage")
class CropImage(Operation):
    """Cut `size` ([width, height] or one number for both) from the middle, the start rounded down.

    An image smaller than that is laid on black, in the middle. The reference then slices from a negative
    start and returns a strip of odd size; `reference_behaviour` repeats it.
    """

    def __init__(self, size: int | list[int], reference_behaviour: bool = False) -> None:
        self.size = size
        self.reference_behaviour = reference_behaviour
        self._size = pair(size, "CropImage: size")

    def __call__(self, image: np.ndarray) -> np.ndarray:
        width, height = self._size
        top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
        if self.reference_behaviour:
            return image[top : top + height, left : left + width]
        return centre_crop(image, self._size, top, left)

    def output_size(self, size: Size | None) -> Size | None:
        return self._size


@operations.register("CenterCrop")
class CenterCrop(Operation):
    """Cut `size` ([height, width] or one number for both) from the middle, the start rounded half to even.

    An image smaller than that is laid on black, in the middle.
    """

    def __init__(self, size: int | list[int]) -> None:
        self.size = size
        height, width = pair(size, "CenterCrop: size")
        self._size = (width, height)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        width, height = self._size
        top, left = round((image.shape[0] - height) / 2), round((image.shape[1] - width) / 2)
        return centre_crop(image, self._size, top, left)

    def output_size(self, size: Size | None) -> Size | None:
        return self._size


@operations.register("CropImageAtRatio")
class CropImageAtRatio(Operation):
    """Cut the square of side size / (size + pad) · short side from the middle and resize it to `size`."""

    def __init__(self, size: int, pad: int, interpolation: Interpolation = "bilinear") -> None:
        if size < 1 or pad < 0:
            raise UserError(
                f"CropImageAtRatio: size must be positive and pad not negative, got {size} and {pad}"
            )
        self.size = size
        self.pad = pad
        self.interpolation = interpolation
        check_interpolation("CropImageAtRatio", interpolation, "cv2")

    def __call__(self, image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        side = max(1, int(self.size / (self.size + self.pad) * min(height, width)))
        top, left = (height - side) // 2, (width - side) // 2
        return resize(image[top : top + side, left : left + side], (self.size, self.size), self.interpolation)

    def output_size(self, size: Size | None) -> Size | None:
        return self.size, self.size

    def wanted_size(self, size: Size) -> Size | None:
        share = (self.size + self.pad) / min(size)
        return math.ceil(size[0] * share), math.ceil(size[1] * share)
