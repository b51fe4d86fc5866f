"""Random crops: a part of the image at random scale and aspect, or a window of a fixed size."""

from __future__ import annotations

import math

import cv2
import numpy as np

from lookalike.core.errors import UserError
from lookalike.core.numbers import Number
from lookalike.data.augmentation.arguments import (
    Backend,
    Fill,
    Interpolation,
    Size,
    border_value,
    interpolation_of,
    probability,
    width_and_height,
)
from lookalike.data.registries import augmentations
from lookalike.images.operations.resize import check_interpolation, resize

Box = tuple[int, int, int, int]
"""top, left, height, width"""


def _check_scale_and_ratio(scale: tuple[float, float], ratio: tuple[float, float]) -> None:
    if not 0 < scale[0] <= scale[1]:
        raise UserError(f"scale must be [low, high] with 0 < low <= high, got {list(scale)}")
    if not 0 < ratio[0] <= ratio[1]:
        raise UserError(f"ratio must be [low, high] with 0 < low <= high, got {list(ratio)}")


def _check_interpolation(name: str, interpolation: str | None, backend: str) -> None:
    if interpolation != "random":
        check_interpolation(name, interpolation, backend)


def _aspect(ratio: tuple[float, float], logarithmic: bool, rng: np.random.Generator) -> float:
    if logarithmic:
        return math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
    return rng.uniform(*ratio)


def _wanted(
    target: tuple[int, int], scale: tuple[float, float], ratio: tuple[float, float], size: tuple[int, int]
) -> tuple[int, int]:
    """The size (width, height) in which an image of `size` must be there, so that the smallest part that may
    be drawn of it is not smaller than `target`.
    """
    width, height = size
    area = scale[0] * width * height
    narrowest = min(width, math.sqrt(area * ratio[0]), height * ratio[0])
    lowest = min(height, math.sqrt(area / ratio[1]), width / ratio[1])
    return math.ceil(target[0] * width / narrowest), math.ceil(target[1] * height / lowest)


@augmentations.register(
    "RandCropImage", swallows={"progress_size": "the crop has one size through the whole training"}
)
class RandCropImage:
    """A part of random area and aspect, resized to `size` ([width, height] or the side of a square).

    Aspect a = width / height is uniform in `ratio` (log-uniform with `use_log_aspect`). The area is uniform
    in `scale` as a share of the image, both ends first cut to the largest share that fits with this aspect,
    min(W/H / a, H/W * a, …): one draw, no retries. So wide images give more crops of the full height than
    RandomResizedCrop does.
    """

    def __init__(
        self,
        size: Size,
        scale: tuple[Number, Number] = (0.08, 1.0),
        ratio: tuple[Number, Number] = (3 / 4, 4 / 3),
        interpolation: Interpolation | None = None,
        use_log_aspect: bool = False,
        backend: Backend = "cv2",
    ) -> None:
        _check_scale_and_ratio(scale, ratio)
        self.size, self.scale, self.ratio = width_and_height(size), scale, ratio
        _check_interpolation("RandCropImage", interpolation, backend)
        self.interpolation, self.use_log_aspect, self.backend = interpolation, use_log_aspect, backend

    def region(self, height: int, width: int, rng: np.random.Generator) -> Box:
        """The part to cut out of an image of this size."""
        aspect = _aspect(self.ratio, self.use_log_aspect, rng)
        fits = min(width / height / aspect, height / width * aspect)
        share = rng.uniform(min(self.scale[0], fits), min(self.scale[1], fits))
        side = math.sqrt(share * height * width)
        # cut to whole pixels; the small term keeps the whole image from losing a row to rounding
        crop_width = min(max(int(side * math.sqrt(aspect) + 1e-6), 1), width)
        crop_height = min(max(int(side / math.sqrt(aspect) + 1e-6), 1), height)
        left = int(rng.integers(0, width - crop_width, endpoint=True))
        top = int(rng.integers(0, height - crop_height, endpoint=True))
        return top, left, crop_height, crop_width

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        top, left, height, width = self.region(image.shape[0], image.shape[1], rng)
        part = image[top : top + height, left : left + width]
        return resize(part, self.size, interpolation_of(self.interpolation, rng), self.backend)

    def wanted_size(self, size: tuple[int, int]) -> tuple[int, int] | None:
        """In which size (width, height) an image of this size is needed, see DecodeImage."""
        return _wanted(self.size, self.scale, self.ratio, size)


@augmentations.register("RandomResizedCrop")
class RandomResizedCrop:
    """The crop of Inception as torchvision and paddle.vision draw it.

    `size` is [height, width] or the side of a square. Area uniform in `scale`, aspect log-uniform in
    `ratio`, ten attempts, then the largest centred part whose aspect lies in `ratio`.
    """

    def __init__(
        self,
        size: Size,
        scale: tuple[Number, Number] = (0.08, 1.0),
        ratio: tuple[Number, Number] = (3 / 4, 4 / 3),
        interpolation: Interpolation = "bilinear",
        backend: Backend = "pil",
    ) -> None:
        _check_scale_and_ratio(scale, ratio)
        height, width = width_and_height(size)
        self.size, self.scale, self.ratio = (width, height), scale, ratio
        _check_interpolation("RandomResizedCrop", interpolation, backend)
        self.interpolation, self.backend = interpolation, backend

    def region(self, height: int, width: int, rng: np.random.Generator) -> Box:
        """The part to cut out of an image of this size."""
        for _ in range(10):
            area = height * width * rng.uniform(*self.scale)
            aspect = _aspect(self.ratio, True, rng)
            crop_width, crop_height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < crop_width <= width and 0 < crop_height <= height:
                top = int(rng.integers(0, height - crop_height, endpoint=True))
                left = int(rng.integers(0, width - crop_width, endpoint=True))
                return top, left, crop_height, crop_width
        aspect = min(max(width / height, self.ratio[0]), self.ratio[1])
        crop_width = min(width, max(round(height * aspect), 1))
        crop_height = min(height, max(round(width / aspect), 1))
        return (height - crop_height) // 2, (width - crop_width) // 2, crop_height, crop_width

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        top, left, height, width = self.region(image.shape[0], image.shape[1], rng)
        part = image[top : top + height, left : left + width]
        return resize(part, self.size, interpolation_of(self.interpolation, rng), self.backend)

    def wanted_size(self, size: tuple[int, int]) -> tuple[int, int] | None:
        """In which size (width, height) an image of this size is needed, see DecodeImage."""
        return _wanted(self.size, self.scale, self.ratio, size)


@augmentations.register(
    "CropWithPadding",
    swallows={
        "size": "the image keeps its size",
        "interpolation": "nothing is resized",
    },
)
class CropWithPadding(RandomResizedCrop):
    """With probability `prob` keep the part that RandomResizedCrop would cut out, in its place, and fill the
    rest with `padding_num`: the partly seen faces of AdaFace, https://arxiv.org/abs/2204.00964.

    The reference crashes here, since it asks for the part by a name that Paddle does not have.
    """

    def __init__(
        self,
        prob: Number = 1.0,
        padding_num: Number = 0.0,
        scale: tuple[Number, Number] = (0.08, 1.0),
        ratio: tuple[Number, Number] = (3 / 4, 4 / 3),
    ) -> None:
        super().__init__(1, scale, ratio)
        self.prob, self.padding_num = probability(prob), padding_num

    def wanted_size(self, size: tuple[int, int]) -> tuple[int, int] | None:
        """None: nothing is resized."""
        return None

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if rng.random() >= self.prob:
            return image
        top, left, height, width = self.region(image.shape[0], image.shape[1], rng)
        padded = np.full_like(image, self.padding_num)
        padded[top : top + height, left : left + width] = image[top : top + height, left : left + width]
        return padded


@augmentations.register("RandomCropImage")
class RandomCropImage:
    """A window of `size` ([width, height] or the side of a square) anywhere in the image, without resizing.

    Raises UserError for an image that is smaller than the window.
    """

    name = "RandomCropImage"

    def __init__(self, size: Size) -> None:
        self.size = width_and_height(size)

    def offset(self, height: int, width: int, rng: np.random.Generator) -> tuple[int, int]:
        """Top and left of the window, every place that fits being equally likely."""
        if height < self.size[1] or width < self.size[0]:
            raise UserError(
                f"{self.name} cuts {self.size[0]}x{self.size[1]} (width x height) out of an image of "
                f"{width}x{height}: put a ResizeImage before it"
            )
        top = int(rng.integers(0, height - self.size[1], endpoint=True))
        left = int(rng.integers(0, width - self.size[0], endpoint=True))
        return top, left

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        top, left = self.offset(image.shape[0], image.shape[1], rng)
        return image[top : top + self.size[1], left : left + self.size[0]]


@augmentations.register("RandomCrop")
class RandomCrop(RandomCropImage):
    """A window of `size` ([width, height] or the side of a square) anywhere in the image, without resizing.

    pad_if_needed: an image that is too small is padded with `fill` on both sides by what it lacks, so that it
    may stand anywhere in the window. The reference cannot build this operation, though its config
    ResNet50_UReID_infer names it, with a size of [width, height].
    """

    name = "RandomCrop"

    def __init__(self, size: Size, pad_if_needed: bool = False, fill: Fill = 0.0) -> None:
        super().__init__(size)
        self.pad_if_needed, self.fill = pad_if_needed, fill

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        x, y = max(self.size[0] - image.shape[1], 0), max(self.size[1] - image.shape[0], 0)
        if self.pad_if_needed and (x or y):
            value = border_value(self.fill, image.shape[2])
            image = cv2.copyMakeBorder(image, y, y, x, x, cv2.BORDER_CONSTANT, value=value)
        return super().__call__(image, rng)


@augmentations.register("RandCropImageV2")
class RandCropImageV2(RandomCropImage):
    """A window of `size` ([width, height]) anywhere in the image, without resizing.

    The reference draws the offsets up to one past the last that fits, so that some outputs lack a row or
    column (filled with black when its image is a Pillow one). With `reference_behaviour` so do we;
    `black_edge` tells which of the two.
    """

    name = "RandCropImageV2"

    def __init__(self, size: Size, reference_behaviour: bool = False, black_edge: bool = False) -> None:
        super().__init__(size)
        self.reference_behaviour, self.black_edge = reference_behaviour, black_edge

    def offset(self, height: int, width: int, rng: np.random.Generator) -> tuple[int, int]:
        if not self.reference_behaviour or (width, height) == self.size:
            return super().offset(height, width, rng)
        super().offset(height, width, rng)  # the check; what it draws is not used
        top = int(rng.integers(0, height - self.size[1] + 1, endpoint=True))
        left = int(rng.integers(0, width - self.size[0] + 1, endpoint=True))
        return top, left

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        window = super().__call__(image, rng)
        if self.black_edge and window.shape[:2] != (self.size[1], self.size[0]):
            filled = np.zeros((self.size[1], self.size[0], *image.shape[2:]), image.dtype)
            filled[: window.shape[0], : window.shape[1]] = window
            return filled
        return window
