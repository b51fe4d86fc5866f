"""Random erasing: a rectangle of the image replaced by a constant or by noise (Zhong et al., 2017)."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from lookalike.core.errors import UserError
from lookalike.core.numbers import Number
from lookalike.data.augmentation.arguments import is_channel_first, probability
from lookalike.data.registries import augmentations


@augmentations.register("RandomErasing")
class RandomErasing:
    """With probability `EPSILON` fill a rectangle; (H, W, C) or, after ToTensor, (C, H, W).

    The area is uniform in `sl`..`sh` as a share of the image, the aspect height / width uniform in
    `r1`..1/`r1` (log-uniform with `use_log_aspect`); up to `attempt` draws until it fits. `mode` const
    fills with `mean`, rand with one normal number a channel, pixel with one a pixel. It usually stands
    after the normalisation, and then fills in normalised values: 0 is the mean colour, and a `mean` of
    [0.485, 0.456, 0.406] is not.
    """

    takes = None

    def __init__(
        self,
        EPSILON: Number = 0.5,
        sl: Number = 0.02,
        sh: Number = 0.4,
        r1: Number = 0.3,
        mean: list[Number] = [0.0, 0.0, 0.0],  # noqa: B006 - a list in the signature is what a recipe shows
        attempt: int = 100,
        use_log_aspect: bool = False,
        mode: Literal["const", "rand", "pixel"] = "const",
    ) -> None:
        if not 0 < sl <= sh:
            raise UserError(f"RandomErasing needs 0 < sl <= sh, got sl {sl} and sh {sh}")
        if not 0 < r1 <= 1:
            raise UserError(f"RandomErasing needs 0 < r1 <= 1, got {r1}")
        self.EPSILON, self.sl, self.sh, self.r1 = probability(EPSILON, "EPSILON"), sl, sh, r1
        self.mean, self.attempt = tuple(mean), attempt
        self.use_log_aspect, self.mode = use_log_aspect, mode

    def region(self, height: int, width: int, rng: np.random.Generator) -> tuple[int, int, int, int] | None:
        """top, left, height, width of the rectangle, or None when no draw fits."""
        for _ in range(self.attempt):
            area = rng.uniform(self.sl, self.sh) * height * width
            if self.use_log_aspect:
                aspect = math.exp(rng.uniform(math.log(self.r1), -math.log(self.r1)))
            else:
                aspect = rng.uniform(self.r1, 1 / self.r1)
            tall, wide = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if tall < height and wide < width:
                top = int(rng.integers(0, height - tall, endpoint=True))
                left = int(rng.integers(0, width - wide, endpoint=True))
                return top, left, tall, wide
        return None

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if rng.random() >= self.EPSILON:
            return image
        if self.mode != "const" and image.dtype.kind != "f":
            raise UserError(
                f"RandomErasing mode {self.mode} fills with normal noise: put it after NormalizeImage"
            )
        first = is_channel_first(image)
        view = image.transpose(1, 2, 0) if first else image
        height, width, channels = view.shape
        region = self.region(height, width, rng)
        if region is None:
            return image
        top, left, tall, wide = region
        erased: np.ndarray = image.copy()  # the image may be a window into a cache
        target = erased.transpose(1, 2, 0) if first else erased
        target[top : top + tall, left : left + wide] = self._pixels(tall, wide, channels, rng)
        return erased

    def _pixels(self, height: int, width: int, channels: int, rng: np.random.Generator) -> np.ndarray:
        if self.mode == "rand":
            return np.asarray(rng.standard_normal((1, 1, channels), np.float32))
        if self.mode == "pixel":
            return np.asarray(rng.standard_normal((height, width, channels), np.float32))
        if len(self.mean) not in (1, channels):
            raise UserError(f"RandomErasing needs 1 or {channels} values of mean, got {len(self.mean)}")
        return np.array(self.mean, np.float32)
