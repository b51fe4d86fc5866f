"""AutoAugment: the policy that was searched for on ImageNet (Cubuk et al., CVPR 2019)."""

from __future__ import annotations

import numpy as np
from PIL import Image

from lookalike.data.augmentation.arguments import require_uint8
from lookalike.data.augmentation.changes import GREY
from lookalike.data.augmentation.rand_augment import graded_changes, graded_strengths
from lookalike.data.registries import augmentations

IMAGENET_POLICY = """
    posterize 0.4 8 rotate 0.6 9
    solarize 0.6 5 autocontrast 0.6 5
    equalize 0.8 8 equalize 0.6 3
    posterize 0.6 7 posterize 0.6 6
    equalize 0.4 7 solarize 0.2 4
    equalize 0.4 4 rotate 0.8 8
    solarize 0.6 3 equalize 0.6 7
    posterize 0.8 5 equalize 1.0 2
    rotate 0.2 3 solarize 0.6 8
    equalize 0.6 8 posterize 0.4 6
    rotate 0.8 8 color 0.4 0
    rotate 0.4 9 equalize 0.6 2
    equalize 0.0 7 equalize 0.8 8
    invert 0.6 4 equalize 1.0 8
    color 0.6 4 contrast 1.0 8
    rotate 0.8 8 color 1.0 2
    color 0.8 8 solarize 0.8 7
    sharpness 0.4 7 invert 0.6 8
    shearX 0.6 5 equalize 1.0 9
    color 0.4 0 equalize 0.6 3
    equalize 0.4 7 solarize 0.2 4
    solarize 0.6 5 autocontrast 0.6 5
    invert 0.6 4 equalize 1.0 8
    color 0.6 4 contrast 1.0 8
    equalize 0.8 8 equalize 0.6 3
"""
"""Table 9 of the paper: two changes a line, each with its probability and its magnitude of 0..9."""


@augmentations.register("AutoAugment")
class AutoAugment:
    """One of 25 pairs of changes, found by search on ImageNet. https://arxiv.org/abs/1805.09501

    Each change of a pair is done with its own probability and magnitude. The reference turns in one
    direction only, as we do with `reference_behaviour`.
    """

    def __init__(self, reference_behaviour: bool = False) -> None:
        changes, strengths = graded_changes(GREY, reference_behaviour), graded_strengths()
        self.pairs = []
        for line in IMAGENET_POLICY.split("\n"):
            words = line.split()
            parts = [words[i : i + 3] for i in range(0, len(words), 3)]
            if parts:
                self.pairs.append([(changes[n], strengths[n][int(m)], float(p)) for n, p, m in parts])

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        require_uint8(image, "AutoAugment")
        picture = Image.fromarray(image)
        for change, strength, probability in self.pairs[int(rng.integers(len(self.pairs)))]:
            if rng.random() < probability:
                picture = change(picture, strength, rng)
        return np.asarray(picture)
