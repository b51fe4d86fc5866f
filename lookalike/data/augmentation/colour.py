"""Random changes of colour."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from PIL import Image

from lookalike.core.errors import UserError
from lookalike.core.numbers import Number
from lookalike.data.augmentation.arguments import Range, probability, require_uint8
from lookalike.data.registries import augmentations


def _functional() -> Any:
    from torchvision.transforms.v2 import functional  # two seconds that only those pay who use it

    return functional


def _around_one(value: Range, name: str) -> tuple[float, float]:
    low, high = value if isinstance(value, tuple) else (max(0.0, 1 - value), 1 + value)
    if not 0 <= low <= high:
        raise UserError(
            f"{name} must be one number of at least 0 or [low, high] with 0 <= low <= high, got {value}"
        )
    return low, high


def _around_zero(value: Range, name: str) -> tuple[float, float]:
    low, high = value if isinstance(value, tuple) else (-value, value)
    if not -0.5 <= low <= high <= 0.5:
        raise UserError(f"{name} must be one number in 0..0.5 or [low, high] within -0.5..0.5, got {value}")
    return low, high


@augmentations.register("ColorJitter", "RawColorJitter")
class ColorJitter:
    """Brightness, contrast, saturation and hue changed in random order.

    This happens with probability `prob`; the default 2 means always. One number b stands for a factor
    uniform in max(0, 1 - b)..1 + b; for `hue` h for a turn in -h..h (1 is the full circle). The arithmetic
    is Pillow's `ImageEnhance`, through torchvision.
    """

    def __init__(
        self,
        brightness: Range = 0.0,
        contrast: Range = 0.0,
        saturation: Range = 0.0,
        hue: Range = 0.0,
        prob: Number = 2.0,
    ) -> None:
        self.brightness = _around_one(brightness, "brightness")
        self.contrast = _around_one(contrast, "contrast")
        self.saturation = _around_one(saturation, "saturation")
        self.hue = _around_zero(hue, "hue")
        self.prob = probability(prob)
        _functional()

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if rng.random() >= self.prob:
            return image
        require_uint8(image, "ColorJitter")
        functional = _functional()
        changes = [
            (functional.adjust_brightness, self.brightness, 1.0),
            (functional.adjust_contrast, self.contrast, 1.0),
            (functional.adjust_saturation, self.saturation, 1.0),
            (functional.adjust_hue, self.hue, 0.0),
        ]
        picture = Image.fromarray(image)
        for index in rng.permutation(len(changes)):
            change, bounds, neutral = changes[index]
            if bounds != (neutral, neutral):
                picture = change(picture, rng.uniform(*bounds))
        return np.asarray(picture)


@augmentations.register("RandomGrayscale")
class RandomGrayscale:
    """With probability `p` the image in grey, still with three channels."""

    def __init__(self, p: Number = 0.1) -> None:
        self.p = probability(p, "p")

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if rng.random() >= self.p:
            return image
        require_uint8(image, "RandomGrayscale")
        return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


_EIGENVALUES = np.array([0.2175, 0.0188, 0.0045])
_EIGENVECTORS = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])


@augmentations.register("PCALighting")
class PCALighting:
    """Shift all pixels along the principal colours of ImageNet, as AlexNet was trained with.

    The shift of (R, G, B) is E (a * v), with E the eigenvectors, v the eigenvalues of colours of 0..1 and
    a ~ N(0, `alphastd`^2) for each of them; times 255 for images of 0..255, which stay uint8. The reference
    adds the shift for 0..1 to images of 0..255, which changes nothing that can be seen, and gives float32; so
    do we with `reference_behaviour`.
    """

    def __init__(self, alphastd: Number = 0.1, reference_behaviour: bool = False) -> None:
        if alphastd < 0:
            raise UserError(f"alphastd must be at least 0, got {alphastd}")
        self.alphastd, self.reference_behaviour = alphastd, reference_behaviour

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        require_uint8(image, "PCALighting")
        shift = _EIGENVECTORS @ (rng.normal(0.0, self.alphastd, 3) * _EIGENVALUES)
        if self.reference_behaviour:
            return np.asarray(image.astype(np.float32) + shift.astype(np.float32))
        return np.asarray(np.clip(np.rint(image + 255 * shift), 0, 255), np.uint8)
