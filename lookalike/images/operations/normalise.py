"""Normalisation: from pixels to numbers around zero."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import cv2
import numpy as np

from lookalike.core.errors import UserError
from lookalike.core.numbers import Number
from lookalike.images.operations.base import Layout, Operation, operations

_CHANNELS = 3
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


@operations.register("NormalizeImage")
class NormalizeImage(Operation):
    """(x · scale - mean) / std per channel, in float32.

    scale: 1/255 by default; may be written `1.0/255.0`. order: `chw`, or `hwc` (also written `''`).
    output_fp16: float16. channel_num: 4 adds a channel of zeros.

    An 8-bit pixel has 256 values, so the result is looked up in a table of the 256 results per channel: the
    very same numbers as the arithmetic, 9 times as fast.
    """

    takes = None

    def __init__(
        self,
        scale: Number | None = None,
        mean: list[Number] | None = None,
        std: list[Number] | None = None,
        order: Literal["chw", "hwc", ""] = "chw",
        output_fp16: bool = False,
        channel_num: Literal[3, 4] = 3,
    ) -> None:
        self.scale = 1.0 / 255.0 if scale is None else scale
        self.mean = list(_IMAGENET_MEAN) if mean is None else list(mean)
        self.std = list(_IMAGENET_STD) if std is None else list(std)
        self.order = order
        self.output_fp16 = output_fp16
        self.channel_num = channel_num
        if not {len(self.mean), len(self.std)} <= {1, _CHANNELS}:
            raise UserError(
                f"NormalizeImage: mean and std must have {_CHANNELS} values each (or one for all channels), "
                f"got {len(self.mean)} and {len(self.std)}"
            )
        _refuse_zero("NormalizeImage", self.std)
        self._scale = np.asarray(self.scale, dtype=np.float32)
        self._mean = np.full(_CHANNELS, self.mean, dtype=np.float32)
        self._std = np.full(_CHANNELS, self.std, dtype=np.float32)
        levels = np.arange(256, dtype=np.float32)[:, None]
        self._table = np.ascontiguousarray(((levels * self._scale - self._mean) / self._std)[:, None, :])
        self._tables = [np.ascontiguousarray(self._table[:, 0, c]) for c in range(_CHANNELS)]

    @property
    def layout(self) -> Layout:
        """The layout that `order` names."""
        return "chw" if self.order == "chw" else "hwc"

    def __call__(self, image: np.ndarray) -> np.ndarray:
        self._check_channels(image, self.layout)
        channels_first = self.layout == "chw"
        if image.dtype == np.uint8:
            result = self._look_up(image) if channels_first else cv2.LUT(image, self._table)
        else:
            shape = (-1, 1, 1) if channels_first else (-1,)
            mean, std = self._mean.reshape(shape), self._std.reshape(shape)
            result = (image.astype(np.float32) * self._scale - mean) / std
        return self._finish(result, 0 if channels_first else 2)

    def to_planes(self, image: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Normalise (H, W, C) and put channels first, in one pass: the same as the operation and then
        ToCHWImage.

        out: where the result is written and what is returned, if it is of that shape, of float32 and
            contiguous, and if nothing has to be done after normalising; it is left alone otherwise.
        """
        if image.dtype != np.uint8:
            return np.ascontiguousarray(self(image).transpose(2, 0, 1))
        self._check_channels(image, "hwc")
        return self._finish(self._look_up(cv2.split(image), out), 0)

    def _look_up(
        self, planes: Sequence[np.ndarray] | np.ndarray, result: np.ndarray | None = None
    ) -> np.ndarray:
        shape = (_CHANNELS, *planes[0].shape)
        if result is None or not _is_place(result, shape) or self.output_fp16:
            result = np.empty(shape, np.float32)
        for plane, table, out in zip(planes, self._tables, result, strict=True):
            cv2.LUT(plane, table, dst=out)
        return result

    def _finish(self, result: np.ndarray, axis: int) -> np.ndarray:
        if self.channel_num == 4:
            shape = list(result.shape)
            shape[axis] = 1
            result = np.concatenate([result, np.zeros(shape, np.float32)], axis=axis)
        return result.astype(np.float16) if self.output_fp16 else result

    def _check_channels(self, image: np.ndarray, layout: Layout) -> None:
        axis = 0 if layout == "chw" else 2
        if image.ndim != 3 or image.shape[axis] != _CHANNELS:
            other = "hwc" if layout == "chw" else "chw"
            raise UserError(
                f"NormalizeImage: with order: {layout} the image must have {_CHANNELS} channels on axis "
                f"{axis}, but its "
                f"shape is {image.shape}; write order: {other}, or put ToCHWImage in the right place"
            )


@operations.register("Normalize", swallows={"keys": "an operation sees the image only"})
class Normalize(Operation):
    """(x - mean) / std per channel, in float32; mean and std are one number or one per channel."""

    takes = None

    def __init__(
        self,
        mean: Number | list[Number] = 0.0,
        std: Number | list[Number] = 1.0,
        data_format: Literal["CHW", "HWC"] = "CHW",
    ) -> None:
        self.mean = mean
        self.std = std
        self.data_format = data_format
        means = [mean] if isinstance(mean, (int, float)) else list(mean)
        deviations = [std] if isinstance(std, (int, float)) else list(std)
        if len(means) != len(deviations) and 1 not in (len(means), len(deviations)):
            raise UserError(f"Normalize: {len(means)} means but {len(deviations)} standard deviations")
        _refuse_zero("Normalize", deviations)
        shape = (-1, 1, 1) if data_format == "CHW" else (-1,)
        self._mean = np.array(means, dtype=np.float32).reshape(shape)
        self._std = np.array(deviations, dtype=np.float32).reshape(shape)

    @property
    def layout(self) -> Layout:
        """The layout that `data_format` names."""
        return "chw" if self.data_format == "CHW" else "hwc"

    def __call__(self, image: np.ndarray) -> np.ndarray:
        channels = image.shape[0 if self.data_format == "CHW" else 2]
        if max(self._mean.size, self._std.size) not in (1, channels):
            raise UserError(
                f"Normalize: {max(self._mean.size, self._std.size)} means or deviations but an image of "
                f"{channels} channels "
                f"({self.data_format}): {image.shape}; set data_format, or put ToTensor before it"
            )
        return (image.astype(np.float32) - self._mean) / self._std


@operations.register("ToTensor", swallows={"keys": "an operation sees the image only"})
class ToTensor(Operation):
    """To float32 with channels first (`data_format: CHW`); 8-bit pixels are divided by 255."""

    _LEVELS: ClassVar[np.ndarray] = np.arange(256, dtype=np.float32) / np.float32(255)

    def __init__(self, data_format: Literal["CHW", "HWC"] = "CHW") -> None:
        self.data_format = data_format
        if data_format == "CHW":
            self.gives = "chw"  # type: ignore[misc]

    def __call__(self, image: np.ndarray) -> np.ndarray:
        if self.data_format == "CHW":
            image = np.ascontiguousarray(image.transpose(2, 0, 1))
        if image.dtype == np.uint8:
            return cv2.LUT(image.reshape(image.shape[0], -1), self._LEVELS).reshape(image.shape)
        return image.astype(np.float32, copy=False)


def _is_place(array: np.ndarray, shape: tuple[int, ...]) -> bool:
    """Whether OpenCV can write planes of this shape there."""
    return array.shape == shape and array.dtype == np.float32 and array.flags.c_contiguous


def _refuse_zero(name: str, std: list[float]) -> None:
    if any(value == 0 for value in std):
        raise UserError(f"{name}: a standard deviation of 0 would divide by zero")
