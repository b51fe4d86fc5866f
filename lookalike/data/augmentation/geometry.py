"""Flips, rotations, affine and perspective warps."""

from __future__ import annotations

import math
from typing import Literal

import cv2
import numpy as np

from lookalike.core.errors import UserError
from lookalike.core.numbers import Number
from lookalike.data.augmentation.arguments import (
    Fill,
    Range,
    WarpInterpolation,
    border_value,
    interval,
    probability,
    warp_flag,
)
from lookalike.data.registries import augmentations


@augmentations.register("RandFlipImage")
class RandFlipImage:
    """Flip with probability 1/2: `flip_code` 1 left-right, 0 upside down, -1 both (half a turn)."""

    scale_free = True

    def __init__(self, flip_code: Literal[-1, 0, 1] = 1) -> None:
        self.flip_code = flip_code

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return cv2.flip(image, self.flip_code) if rng.random() < 0.5 else image


@augmentations.register("RandomHorizontalFlip")
class RandomHorizontalFlip:
    """Flip left-right with probability `prob`."""

    scale_free = True

    def __init__(self, prob: Number = 0.5) -> None:
        self.prob = probability(prob)

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return cv2.flip(image, 1) if rng.random() < self.prob else image


@augmentations.register("RandomRot90")
class RandomRot90:
    """Turn by 0, 90, 180 or 270 degrees, each equally likely."""

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return np.ascontiguousarray(np.rot90(image, int(rng.integers(4))))


@augmentations.register("RandomRotation")
class RandomRotation:
    """With probability `prob` turn about the centre by an angle uniform in `degrees` (one number d: -d..d).

    Corners are filled with `fill`; with `expand` the canvas grows until the whole turned image fits.
    """

    def __init__(
        self,
        prob: Number = 0.5,
        degrees: Range = 90.0,
        interpolation: WarpInterpolation = "nearest",
        expand: bool = False,
        center: tuple[Number, Number] | None = None,
        fill: Fill = 0.0,
    ) -> None:
        self.prob, self.degrees = probability(prob), interval(degrees, "degrees")
        self.interpolation, self.expand, self.center, self.fill = interpolation, expand, center, fill

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if rng.random() >= self.prob:
            return image
        height, width = image.shape[:2]
        angle = rng.uniform(*self.degrees)
        center = self.center or ((width - 1) / 2, (height - 1) / 2)
        matrix = cv2.getRotationMatrix2D(center, angle, 1.0)
        if self.expand:
            cosine, sine = abs(matrix[0, 0]), abs(matrix[0, 1])
            grown_width = math.ceil(height * sine + width * cosine - 1e-6)
            grown_height = math.ceil(height * cosine + width * sine - 1e-6)
            matrix[:, 2] += (
                np.array([(grown_width - 1) / 2, (grown_height - 1) / 2])
                - matrix[:, :2] @ np.array([(width - 1) / 2, (height - 1) / 2])
                - matrix[:, 2]
            )
            width, height = grown_width, grown_height
        return _warp(image, matrix, width, height, warp_flag(self.interpolation, rng), self.fill)


def _warp(
    image: np.ndarray, matrix: np.ndarray, width: int, height: int, flag: int, fill: Fill
) -> np.ndarray:
    channels = 1 if image.ndim == 2 else image.shape[2]
    return cv2.warpAffine(
        image,
        matrix,
        (width, height),
        flags=flag,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=border_value(fill, channels),
    )


@augmentations.register("RandomAffine")
class RandomAffine:
    """Turn, shear, scale and shift about the centre in one warp, with probability `prob`.

    The point p = (x, y) moves to c + t + s R(angle) S(shear) (p - c), c being the centre of the image.
    `degrees` and `shear` (in degrees, along x; [x low, x high, y low, y high] for both axes) are one number
    d for -d..d or an interval; `translate` is the greatest shift as a share of width and height; `scale`
    the interval of s, drawn log-uniformly so that growing and shrinking are alike. Meant for hand-written
    characters, whose writers differ in just these ways.
    """

    def __init__(
        self,
        degrees: Range = 10.0,
        translate: Range | None = None,
        scale: tuple[Number, Number] | None = None,
        shear: Number | tuple[Number, Number] | tuple[Number, Number, Number, Number] | None = None,
        interpolation: WarpInterpolation = "bilinear",
        fill: Fill = 0.0,
        prob: Number = 1.0,
    ) -> None:
        self.degrees, self.prob = interval(degrees, "degrees"), probability(prob)
        self.translate = translate if isinstance(translate, tuple) else (translate or 0.0, translate or 0.0)
        self.scale = scale or (1.0, 1.0)
        if not 0 < self.scale[0] <= self.scale[1]:
            raise UserError(f"scale must be [low, high] with 0 < low <= high, got {list(self.scale)}")
        if min(self.translate) < 0:
            raise UserError(
                f"translate must be a share of width and height of at least 0, got {self.translate}"
            )
        if isinstance(shear, tuple) and len(shear) == 4:
            self.shear_x, self.shear_y = (
                interval((shear[0], shear[1]), "shear"),
                interval((shear[2], shear[3]), "shear"),
            )
        else:
            self.shear_x, self.shear_y = interval(shear or 0.0, "shear"), (0.0, 0.0)
        self.interpolation, self.fill = interpolation, fill

    def matrix(self, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
        """The drawn map from old to new (x, y), (2, 3)."""
        angle = math.radians(rng.uniform(*self.degrees))
        scale = math.exp(rng.uniform(math.log(self.scale[0]), math.log(self.scale[1])))
        shear_x = math.tan(math.radians(rng.uniform(*self.shear_x)))
        shear_y = math.tan(math.radians(rng.uniform(*self.shear_y)))
        turn = scale * np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
        linear = turn @ np.array([[1.0, shear_x], [shear_y, 1.0]])
        center = np.array([(width - 1) / 2, (height - 1) / 2])
        shift = rng.uniform(-1, 1, 2) * np.array(self.translate) * np.array([width, height])
        return np.hstack([linear, (center + shift - linear @ center)[:, None]])

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if rng.random() >= self.prob:
            return image
        height, width = image.shape[:2]
        matrix = self.matrix(height, width, rng)
        return _warp(image, matrix, width, height, warp_flag(self.interpolation, rng), self.fill)


@augmentations.register("RandomPerspective")
class RandomPerspective:
    """With probability `prob` look at the image from a random side, as torchvision does.

    Each corner moves inwards by up to `distortion_scale` / 2 of the width and height; what is uncovered
    gets `fill`.
    """

    def __init__(
        self,
        distortion_scale: Number = 0.5,
        prob: Number = 0.5,
        interpolation: WarpInterpolation = "bilinear",
        fill: Fill = 0.0,
    ) -> None:
        if not 0 <= distortion_scale <= 1:
            raise UserError(f"distortion_scale must lie in 0..1, got {distortion_scale}")
        self.distortion_scale, self.prob = distortion_scale, probability(prob)
        self.interpolation, self.fill = interpolation, fill

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if rng.random() >= self.prob:
            return image
        height, width = image.shape[:2]
        corners = np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]], np.float32)
        inwards = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]], np.float32)
        reach = self.distortion_scale / 2 * np.array([width, height], np.float32)
        moved = (corners + inwards * reach * rng.random((4, 2))).astype(np.float32)
        return cv2.warpPerspective(
            image,
            cv2.getPerspectiveTransform(corners, moved),
            (width, height),
            flags=warp_flag(self.interpolation, rng),
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=border_value(self.fill, 1 if image.ndim == 2 else image.shape[2]),
        )
