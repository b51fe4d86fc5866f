"""The changes of colour and shape that the searched policies (AutoAugment, RandAugment) choose from.

A change takes a Pillow image, a strength and the generator, and gives a Pillow image. What a strength means
differs between policies, so each of them turns its own magnitudes into strengths.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

Change = Callable[[Image.Image, float, np.random.Generator], Image.Image]
Colour = tuple[int, int, int]

GREY: Colour = (128, 128, 128)


def sign(rng: np.random.Generator) -> int:
    """-1 or 1, equally likely."""
    return 1 if rng.random() < 0.5 else -1


@dataclass(frozen=True)
class Warp:
    """A shear, a shift or a rotation; what is uncovered gets `fill`. The direction is drawn.

    Strengths: the tangent of a shear; the shift as a share of the side, or in pixels (`in_pixels`); degrees,
    in one direction only with `one_way`.
    """

    kind: Literal["shearX", "shearY", "translateX", "translateY", "rotate"]
    fill: Colour
    resample: Image.Resampling
    one_way: bool = False
    in_pixels: bool = False

    def __call__(self, picture: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
        if not self.one_way:
            strength *= sign(rng)
        if self.kind == "rotate":
            return picture.rotate(strength, resample=self.resample, fillcolor=self.fill)
        width, height = (1, 1) if self.in_pixels else picture.size
        coefficients = {
            "shearX": (1, strength, 0, 0, 1, 0),
            "shearY": (1, 0, 0, strength, 1, 0),
            "translateX": (1, 0, strength * width, 0, 1, 0),
            "translateY": (1, 0, 0, 0, 1, strength * height),
        }[self.kind]
        return picture.transform(
            picture.size,
            Image.Transform.AFFINE,
            coefficients,
            resample=self.resample,
            fillcolor=self.fill,
        )


def warps(
    fill: Colour, shear: Image.Resampling, other: Image.Resampling, in_pixels: bool = False
) -> dict[str, Change]:
    """Shears that interpolate with `shear`, shifts and rotation that interpolate with `other`."""
    return {
        "shearX": Warp("shearX", fill, shear),
        "shearY": Warp("shearY", fill, shear),
        "translateX": Warp("translateX", fill, other, in_pixels=in_pixels),
        "translateY": Warp("translateY", fill, other, in_pixels=in_pixels),
        "rotate": Warp("rotate", fill, other),
    }


@dataclass(frozen=True)
class Enhancement:
    """Saturation, contrast, sharpness or brightness by the strength, or `around_one` by 1 +- strength."""

    kind: Callable[[Image.Image], ImageEnhance._Enhance]
    around_one: bool

    def __call__(self, picture: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
        factor = 1 + strength * sign(rng) if self.around_one else strength
        return self.kind(picture).enhance(factor)


def enhancements(around_one: bool = True) -> dict[str, Change]:
    """All four of them."""
    return {
        "color": Enhancement(ImageEnhance.Color, around_one),
        "contrast": Enhancement(ImageEnhance.Contrast, around_one),
        "sharpness": Enhancement(ImageEnhance.Sharpness, around_one),
        "brightness": Enhancement(ImageEnhance.Brightness, around_one),
    }


def posterize(picture: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    """Keep the upper `strength` bits of each channel; 0 gives black."""
    return picture.point([level & ~((1 << (8 - int(strength))) - 1) for level in range(256)] * 3)


def solarize(picture: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    """Invert all levels from `strength` on."""
    return ImageOps.solarize(picture, strength)  # type: ignore[arg-type]  # any number is compared with


def solarize_add(picture: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    """Add `strength` to all levels below 128."""
    added = [min(255, level + int(strength)) if level < 128 else level for level in range(256)]
    return picture.point(added * 3)


def autocontrast(picture: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    """Stretch each channel to 0..255."""
    return ImageOps.autocontrast(picture)


def equalize(picture: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    """Flatten the histogram of each channel."""
    return ImageOps.equalize(picture)


def invert(picture: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    """255 minus each level."""
    return ImageOps.invert(picture)


@dataclass(frozen=True)
class Hole:
    """Fill a square of side 2 · strength around a point anywhere, cut at the border."""

    fill: int

    def __call__(self, picture: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
        reach = int(strength)
        y = int(rng.integers(picture.height, endpoint=True))
        x = int(rng.integers(picture.width, endpoint=True))
        pixels = np.array(picture)
        pixels[max(y - reach, 0) : y + reach, max(x - reach, 0) : x + reach] = self.fill
        return Image.fromarray(pixels)


LEVELS: dict[str, Change] = {
    "posterize": posterize,
    "solarize": solarize,
    "autocontrast": autocontrast,
    "equalize": equalize,
    "invert": invert,
}
"""The changes of grey levels that all policies share."""
