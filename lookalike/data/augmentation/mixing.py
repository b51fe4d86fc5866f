"""AugMix: chains of simple changes mixed with each other and with the image (Hendrycks et al., ICLR 2020)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageOps

from lookalike.core.errors import UserError
from lookalike.core.numbers import Number
from lookalike.data.augmentation.arguments import probability, require_uint8
from lookalike.data.registries import augmentations

Change = Callable[[Image.Image, float, np.random.Generator], Image.Image]


def _sign(rng: np.random.Generator) -> int:
    return 1 if rng.random() < 0.5 else -1


def _affine(picture: Image.Image, coefficients: tuple[float, ...]) -> Image.Image:
    return picture.transform(
        picture.size, Image.Transform.AFFINE, coefficients, resample=Image.Resampling.BILINEAR
    )


def _autocontrast(picture: Image.Image, level: float, rng: np.random.Generator) -> Image.Image:
    return ImageOps.autocontrast(picture)


def _equalize(picture: Image.Image, level: float, rng: np.random.Generator) -> Image.Image:
    return ImageOps.equalize(picture)


def _posterize(picture: Image.Image, level: float, rng: np.random.Generator) -> Image.Image:
    return ImageOps.posterize(picture, 4 - int(level * 4 / 10))


def _rotate(picture: Image.Image, level: float, rng: np.random.Generator) -> Image.Image:
    return picture.rotate(_sign(rng) * int(level * 30 / 10), resample=Image.Resampling.BILINEAR)


def _solarize(picture: Image.Image, level: float, rng: np.random.Generator) -> Image.Image:
    return ImageOps.solarize(picture, 256 - int(level * 256 / 10))


def _shear_x(picture: Image.Image, level: float, rng: np.random.Generator) -> Image.Image:
    return _affine(picture, (1, _sign(rng) * level * 0.3 / 10, 0, 0, 1, 0))


def _shear_y(picture: Image.Image, level: float, rng: np.random.Generator) -> Image.Image:
    return _affine(picture, (1, 0, 0, _sign(rng) * level * 0.3 / 10, 1, 0))


def _translate_x(picture: Image.Image, level: float, rng: np.random.Generator) -> Image.Image:
    return _affine(picture, (1, 0, _sign(rng) * int(level * picture.width / 30), 0, 1, 0))


def _translate_y(picture: Image.Image, level: float, rng: np.random.Generator) -> Image.Image:
    return _affine(picture, (1, 0, 0, 0, 1, _sign(rng) * int(level * picture.height / 30)))


CHANGES: tuple[Change, ...] = (
    _autocontrast,
    _equalize,
    _posterize,
    _rotate,
    _solarize,
    _shear_x,
    _shear_y,
    _translate_x,
    _translate_y,
)
"""The changes of the paper without those (colour, contrast, brightness, sharpness) that its test
corruptions contain.
"""


@augmentations.register("AugMix")
class AugMix:
    """(1 - m) image + m sum_i w_i chain_i(image), with probability `prob`.

    w ~ Dirichlet(c, …, c) over `mixture_width` chains and m ~ Beta(c, c), c = `aug_prob_coeff`. A chain is
    `mixture_depth` changes drawn at random (1 to 3 where the depth is not positive), each of a strength
    uniform in 0.1..`aug_severity` (of 10). The result is rounded; the reference cuts off the decimals, as
    we do with `reference_behaviour`.
    """

    def __init__(
        self,
        prob: Number = 0.5,
        aug_prob_coeff: Number = 0.1,
        mixture_width: int = 3,
        mixture_depth: int = 1,
        aug_severity: Number = 1.0,
        reference_behaviour: bool = False,
    ) -> None:
        if aug_prob_coeff <= 0 or mixture_width < 1:
            raise UserError("AugMix needs aug_prob_coeff above 0 and mixture_width of at least 1")
        if not 0.1 <= aug_severity <= 10:
            raise UserError(f"AugMix needs aug_severity in 0.1..10, got {aug_severity}")
        self.prob, self.aug_prob_coeff = probability(prob), aug_prob_coeff
        self.mixture_width, self.mixture_depth, self.aug_severity = mixture_width, mixture_depth, aug_severity
        self.reference_behaviour = reference_behaviour

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if rng.random() >= self.prob:
            return image
        require_uint8(image, "AugMix")
        picture = Image.fromarray(image)
        weights = rng.dirichlet([self.aug_prob_coeff] * self.mixture_width)
        share = rng.beta(self.aug_prob_coeff, self.aug_prob_coeff)
        mixed = np.float32(1 - share) * image.astype(np.float32)
        for weight in weights:
            changed = picture
            depth = self.mixture_depth if self.mixture_depth > 0 else int(rng.integers(1, 4))
            for _ in range(depth):
                change = CHANGES[int(rng.integers(len(CHANGES)))]
                changed = change(changed, rng.uniform(0.1, self.aug_severity), rng)
            mixed += np.float32(share * weight) * np.asarray(changed, np.float32)
        if not self.reference_behaviour:
            np.rint(mixed, out=mixed)
        return np.asarray(np.clip(mixed, 0, 255), np.uint8)
