"""Random operations on one image, by idea. Importing this package registers them all."""

from lookalike.data.augmentation import (
    auto_augment,
    colour,
    composition,
    crop,
    erasing,
    geometry,
    hiding,
    mixing,
    quality,
    rand_augment,
    timm_policies,
)

__all__ = [
    "auto_augment",
    "colour",
    "composition",
    "crop",
    "erasing",
    "geometry",
    "hiding",
    "mixing",
    "quality",
    "rand_augment",
    "timm_policies",
]
