"""RandAugment (Cubuk et al., 2020) and its relatives: a few changes drawn at random, all of one magnitude."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import numpy as np
from PIL import Image
from pydantic import Field

from lookalike.core.errors import UserError
from lookalike.core.numbers import Number
from lookalike.data.augmentation.arguments import require_uint8
from lookalike.data.augmentation.changes import (
    GREY,
    LEVELS,
    Change,
    Colour,
    Hole,
    Warp,
    enhancements,
    solarize_add,
    warps,
)
from lookalike.data.registries import augmentations

Level = Annotated[int, Field(ge=0, le=255)]
Fill = tuple[Level, Level, Level]

_HIGHEST = 10
_NEAREST, _BICUBIC = Image.Resampling.NEAREST, Image.Resampling.BICUBIC

_RESAMPLING = {"nearest": _NEAREST, "bilinear": Image.Resampling.BILINEAR, "bicubic": _BICUBIC}


def share_of_highest(magnitude: float) -> float:
    """magnitude / 10. Raises UserError outside 0..10."""
    if not 0 <= magnitude <= _HIGHEST:
        raise UserError(f"magnitude must lie in 0..{_HIGHEST}, got {magnitude}")
    return magnitude / _HIGHEST


def common_strengths(share: float) -> dict[str, float]:
    """The strengths of RandAugment at a share of the highest magnitude."""
    return {
        "shearX": 0.3 * share,
        "shearY": 0.3 * share,
        "translateX": 150 / 331 * share,
        "translateY": 150 / 331 * share,
        "rotate": 30 * share,
        "color": 0.9 * share,
        "posterize": int(4 * share),
        "solarize": 256 * share,
        "contrast": 0.9 * share,
        "sharpness": 0.9 * share,
        "brightness": 0.9 * share,
        "autocontrast": 0,
        "equalize": 0,
        "invert": 0,
    }


class _Drawn:
    """`num_layers` changes, drawn with replacement, one after the other."""

    name = "RandAugment"

    def __init__(
        self, num_layers: int, strengths: Mapping[str, float], changes: Mapping[str, Change]
    ) -> None:
        if num_layers < 0:
            raise UserError(f"num_layers must be at least 0, got {num_layers}")
        self.num_layers = num_layers
        self.steps = [(changes[name], strength) for name, strength in strengths.items()]

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        require_uint8(image, self.name)
        picture = Image.fromarray(image)
        for _ in range(self.num_layers):
            change, strength = self.steps[int(rng.integers(len(self.steps)))]
            picture = change(picture, strength, rng)
        return np.asarray(picture)


@augmentations.register("RandAugment")
class RandAugment(_Drawn):
    """`num_layers` of 14 changes, drawn with replacement, at `magnitude` of 10. https://arxiv.org/abs/1909.13719

    Shear by 0.3 m, shift by 150/331 m of a side, turn by 30 m degrees, saturation, contrast, sharpness and
    brightness by 1 +- 0.9 m, with m = magnitude / 10; posterize to floor(4 m) bits and solarize from 256 m
    on, both weaker the greater m is, as published (see RandAugmentV3). What is uncovered gets `fillcolor`.

    The reference turns in one direction only and fills what a rotation uncovers with grey whatever
    `fillcolor` says, as we do with `reference_behaviour`.
    """

    def __init__(
        self,
        num_layers: int = 2,
        magnitude: Number = 5,
        fillcolor: Fill = GREY,
        reference_behaviour: bool = False,
    ) -> None:
        moves = warps(fillcolor, _BICUBIC, _NEAREST)
        if reference_behaviour:
            moves["rotate"] = Warp("rotate", GREY, _NEAREST, one_way=True)
        changes = {**moves, **enhancements(), **LEVELS}
        super().__init__(num_layers, common_strengths(share_of_highest(magnitude)), changes)


@augmentations.register(
    "RandAugmentV2", swallows={"progress_magnitude": "the magnitude is one through the whole training"}
)
class RandAugmentV2(_Drawn):
    """RandAugment as EfficientNetV2 is trained with: 16 changes, with SolarizeAdd and Cutout.

    Shifts by 100 m pixels; saturation, contrast, sharpness and brightness by a factor of 1.8 m + 0.1, which
    is 1 at magnitude 5; SolarizeAdd adds 110 m; Cutout fills a square of side 2 floor(40 m).
    """

    name = "RandAugmentV2"

    def __init__(
        self,
        num_layers: int = 2,
        magnitude: Number = 5,
        fillcolor: Fill = GREY,
        reference_behaviour: bool = False,
    ) -> None:
        share = share_of_highest(magnitude)
        factor = 1.8 * share + 0.1
        strengths = {
            **common_strengths(share),
            "translateX": 100 * share,
            "translateY": 100 * share,
            "solarize": int(256 * share),
            "solarize_add": int(110 * share),
            "cutout": int(40 * share),
            **dict.fromkeys(("color", "contrast", "sharpness", "brightness"), factor),
        }
        moves = warps(fillcolor, _NEAREST, _NEAREST, in_pixels=True)
        if reference_behaviour:
            moves["rotate"] = Warp("rotate", GREY, _NEAREST)
        changes: dict[str, Change] = {
            **moves,
            **enhancements(around_one=False),
            **LEVELS,
            "solarize_add": solarize_add,
            "cutout": Hole(fillcolor[0]),
        }
        super().__init__(num_layers, strengths, changes)


@augmentations.register("RandAugmentV3")
class RandAugmentV3(_Drawn):
    """RandAugment as MobileViTv2 is trained with: posterize and solarize grow with the magnitude.

    8 - floor(4 m) bits are kept and levels from 255 (1 - m) on are inverted. All warps interpolate with
    `interpolation`.
    """

    name = "RandAugmentV3"

    def __init__(
        self,
        num_layers: int = 2,
        magnitude: Number = 3,
        fillcolor: Fill = (0, 0, 0),
        interpolation: Literal["nearest", "bilinear", "bicubic"] = "bicubic",
    ) -> None:
        share = share_of_highest(magnitude)
        strengths = {
            **common_strengths(share),
            "posterize": 8 - int(4 * share),
            "solarize": 255 * (1 - share),
        }
        how = _RESAMPLING[interpolation]
        super().__init__(num_layers, strengths, {**warps(fillcolor, how, how), **enhancements(), **LEVELS})


def graded_strengths() -> dict[str, list[float]]:
    """The ten strengths of each change of AutoAugment, by magnitude 0..9."""
    tenths = [i / 9 for i in range(10)]
    return {
        "shearX": [0.3 * t for t in tenths],
        "shearY": [0.3 * t for t in tenths],
        "translateX": [150 / 331 * t for t in tenths],
        "translateY": [150 / 331 * t for t in tenths],
        "rotate": [30 * t for t in tenths],
        "color": [0.9 * t for t in tenths],
        "posterize": [round(8 - 4 * t) for t in tenths],
        "solarize": [256 * (1 - t) for t in tenths],
        "contrast": [0.9 * t for t in tenths],
        "sharpness": [0.9 * t for t in tenths],
        "brightness": [0.9 * t for t in tenths],
        "autocontrast": [0] * 10,
        "equalize": [0] * 10,
        "invert": [0] * 10,
        "cutout": [round(20 * t) for t in tenths],
    }


def graded_changes(fill: Colour, reference_behaviour: bool) -> dict[str, Change]:
    """The changes whose strengths `graded_strengths` lists."""
    moves = warps(fill, _BICUBIC, _NEAREST)
    if reference_behaviour:
        moves["rotate"] = Warp("rotate", GREY, _NEAREST, one_way=True)
    return {**moves, **enhancements(), **LEVELS, "cutout": Hole(0)}


@augmentations.register("RandAugmentV4")
class RandAugmentV4:
    """Two changes drawn with replacement, each of a magnitude drawn from 1..9 and done with probability 1/2.

    As ML-Decoder is trained with. The changes and strengths are those of AutoAugment, and Cutout. The
    reference turns in one direction only, as we do with `reference_behaviour`.
    """

    def __init__(self, reference_behaviour: bool = False) -> None:
        self.changes, self.strengths = graded_changes(GREY, reference_behaviour), graded_strengths()
        self.names = list(self.strengths)

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        require_uint8(image, "RandAugmentV4")
        picture = Image.fromarray(image)
        for _ in range(2):
            name = self.names[int(rng.integers(len(self.names)))]
            magnitude = int(rng.integers(1, 10))
            if rng.random() < 0.5:
                picture = self.changes[name](picture, self.strengths[name][magnitude], rng)
        return np.asarray(picture)
