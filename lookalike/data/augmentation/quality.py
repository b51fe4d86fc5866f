"""Worse pictures: of lower resolution, blurred."""

from __future__ import annotations

import cv2
import numpy as np

from lookalike.core.errors import UserError
from lookalike.core.numbers import Number
from lookalike.data.augmentation.arguments import probability, require_uint8
from lookalike.data.registries import augmentations
from lookalike.images.operations.resize import resize

_INTERPOLATIONS = ("nearest", "bilinear", "area", "bicubic", "lanczos")


@augmentations.register("RandomInterpolationAugment")
class RandomInterpolationAugment:
    """With probability `prob` shrink the image to 0.2 … 1 of its sides and enlarge it again.

    Each of the two resizes with an interpolation drawn from nearest, bilinear, area, bicubic and lanczos:
    the low-resolution faces of AdaFace, https://arxiv.org/abs/2204.00964. The reference shrinks to a square
    whatever the proportions, as we do with `reference_behaviour`.
    """

    def __init__(self, prob: Number, reference_behaviour: bool = False) -> None:
        self.prob, self.reference_behaviour = probability(prob), reference_behaviour

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if rng.random() >= self.prob:
            return image
        height, width = image.shape[:2]
        share = rng.uniform(0.2, 1.0)
        across = height if self.reference_behaviour else width
        small = (max(int(share * across), 1), max(int(share * height), 1))
        down, up = rng.integers(len(_INTERPOLATIONS), size=2)
        return resize(resize(image, small, _INTERPOLATIONS[down]), (width, height), _INTERPOLATIONS[up])


@augmentations.register("BlurImage")
class BlurImage:
    """With probability `prob` blur as a camera out of focus, or as one that moves; each equally likely.

    Out of focus: a Gaussian with an odd kernel of 3 … `max_size`. Motion: the mean along a line of 2 …
    `max_size` pixels in a direction within 45 degrees of the diagonal. The reference defines this operation,
    but no recipe can name it; there the blur of motion also stretches the levels to 0..255, as we do with
    `reference_behaviour`.
    """

    def __init__(self, prob: Number = 0.5, max_size: int = 12, reference_behaviour: bool = False) -> None:
        if max_size < 3:
            raise UserError(f"max_size must be at least 3, got {max_size}")
        self.prob, self.max_size = probability(prob), max_size
        self.reference_behaviour = reference_behaviour

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if rng.random() >= self.prob:
            return image
        require_uint8(image, "BlurImage")
        if rng.random() < 0.5:
            size = 2 * int(rng.integers(1, (self.max_size - 1) // 2, endpoint=True)) + 1
            return cv2.GaussianBlur(image, (size, size), 0)
        blurred = cv2.filter2D(image, -1, self.line(rng))
        if self.reference_behaviour:
            cv2.normalize(blurred, blurred, 0, 255, cv2.NORM_MINMAX)
        return blurred

    def line(self, rng: np.random.Generator) -> np.ndarray:
        """The kernel of a motion: a drawn line whose weights sum to 1."""
        size = int(rng.integers(2, self.max_size, endpoint=True))
        middle = (size - 1) / 2
        turn = cv2.getRotationMatrix2D((middle, middle), rng.uniform(-45, 45), 1.0)
        drawn = cv2.warpAffine(np.eye(size), turn, (size, size))
        return np.asarray(drawn / drawn.sum())
