"""The policies of timm by its one-line descriptions, such as `rand-m9-mstd0.5-inc1`."""

from __future__ import annotations

import contextlib
import random
import re
from collections.abc import Iterator
from typing import Literal

import numpy as np
from PIL import Image

from lookalike.core.errors import UserError
from lookalike.core.numbers import Number
from lookalike.data.augmentation.arguments import Size, probability, require_uint8, width_and_height
from lookalike.data.registries import augmentations

_NUMBER = r"[\d.]+"
_FORMS = {
    "rand": rf"rand(-(m\d+|n\d+|p{_NUMBER}|mstd({_NUMBER}|inf)|mmax\d+|inc[01]|t\w+))*",
    "augmix": rf"augmix(-(m\d+|w\d+|d-?\d+|a{_NUMBER}|b[01]|mstd{_NUMBER}))*",
    "auto": rf"(v0r?|originalr?|3a)(-mstd{_NUMBER})?",
}
_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
}


@augmentations.register("TimmAutoAugment")
class TimmAutoAugment:
    """A policy of timm, with probability `prob`.

    config_str: `rand-…` is RandAugment (m magnitude, n number of changes, p probability of each, mstd
    deviation of the magnitude, mmax its bound, inc1 only changes that grow with it), `augmix-…` is AugMix,
    `v0`, `v0r`, `original`, `originalr` and `3a` are AutoAugment. img_size: side of the image, or [width,
    height]; shifts in pixels are up to 0.45 of the shorter one. mean: the colour, of 0..1, that what is
    uncovered gets, by default the mean of ImageNet. interpolation: `random` draws bilinear or bicubic.

    timm draws from the global generators; here they are seeded for the call and put back afterwards.
    """

    def __init__(
        self,
        prob: Number = 1.0,
        config_str: str = "rand-m9-mstd0.5-inc1",
        interpolation: Literal[
            "nearest", "bilinear", "bicubic", "lanczos", "box", "hamming", "random"
        ] = "bicubic",
        img_size: Size = 224,
        mean: tuple[Number, Number, Number] | None = None,
    ) -> None:
        from timm.data import IMAGENET_DEFAULT_MEAN, auto_augment  # seconds that only those pay who use it

        self.prob, self.config_str = probability(prob), config_str
        settings: dict[str, object] = {
            "translate_const": int(min(width_and_height(img_size)) * 0.45),
            "img_mean": tuple(min(255, round(255 * value)) for value in mean or IMAGENET_DEFAULT_MEAN),
        }
        if interpolation != "random":
            settings["interpolation"] = _RESAMPLING[interpolation]
        kind = next((name for name, form in _FORMS.items() if re.fullmatch(form, config_str)), None)
        if kind == "rand":
            self.policy = auto_augment.rand_augment_transform(config_str, settings)
        elif kind == "augmix":
            settings["translate_pct"] = 0.3
            self.policy = auto_augment.augment_and_mix_transform(config_str, settings)
        elif kind == "auto":
            self.policy = auto_augment.auto_augment_transform(config_str, settings)
        else:
            raise UserError(
                f"config_str '{config_str}' is no policy of timm: write rand-m9-mstd0.5-inc1 (with m, n, p, "
                "mstd, mmax, inc, t), augmix-m3-w3 (with m, w, d, a, b, mstd), or v0, v0r, original, "
                "originalr or 3a"
            )

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if rng.random() >= self.prob:
            return image
        require_uint8(image, "TimmAutoAugment")
        with _seeded_globals(rng):
            return np.asarray(self.policy(Image.fromarray(image)))


@contextlib.contextmanager
def _seeded_globals(rng: np.random.Generator) -> Iterator[None]:
    """The global generators of Python and NumPy, seeded from this one; afterwards as they were before."""
    python, numpy = random.getstate(), np.random.get_state()
    seed = int(rng.integers(2**32))
    random.seed(seed)
    np.random.seed(seed)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
