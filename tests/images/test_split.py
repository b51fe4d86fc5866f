"""A preprocessing in two parts gives what it gives in one, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lookalike.core.errors import UserError
from lookalike.images import Preprocess

PICTURE = np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)
NORMALISE: dict[str, Any] = {"NormalizeImage": {"order": "hwc"}}


@pytest.mark.parametrize(
    "chain",
    [
        [{"ResizeImage": {"size": [32, 24]}}, {"NormalizeImage": {"scale": "1.0/255.0", "order": ""}}],
        [{"ResizeImage": {"resize_short": 32}}, {"CropImage": {"size": 24}}, NORMALISE, {"ToCHWImage": None}],
        [{"ResizeImage": {"size": 24}}, {"ToCHWImage": None}, {"NormalizeImage": {"order": "chw"}}],
        [{"Resize": {"size": [24, 32], "backend": "pil"}}, {"ToTensor": None}, {"Normalize": {"mean": 0.4}}],
        [{"PadSquare": {"fill": [1, 2, 3]}}, {"ToTensor": None}, {"Normalize": {"std": [0.2, 0.3, 0.4]}}],
        [{"DecodeImage": {"to_rgb": False}}, {"PadSquare": {"fill": [1, 2, 3]}}, NORMALISE],
        [{"DecodeImage": {"channel_first": True}}, {"NormalizeImage": {"mean": [0.1, 0.2, 0.3]}}],
        [{"CenterCrop": {"size": 24}}],
    ],
)
def test_both_parts_together(chain: list[Any]) -> None:
    whole = Preprocess(chain)
    pixels, arithmetic = whole.split()
    before = pixels(PICTURE)
    assert (before.dtype, before.ndim, before.shape[2]) == (np.dtype(np.uint8), 3, 3)
    assert pixels.image_shape == whole.image_shape
    assert np.array_equal(arithmetic(before), whole(PICTURE))
    assert np.array_equal(arithmetic(before[None])[0], whole(PICTURE))


@pytest.mark.parametrize(
    ("chain", "told"),
    [
        ([NORMALISE, {"CropImage": {"size": 24}}], "CropImage stands after NormalizeImage"),
        ([{"Padv2": {"size": 64}}, NORMALISE], "Padv2 gives float32"),
        ([{"NormalizeImage": {"order": "hwc", "output_fp16": True}}], "gives float16"),
        ([{"NormalizeImage": {"order": "hwc", "channel_num": 4}}], "gives 4 channels"),
    ],
)
def test_what_cannot_be_parted_is_told(chain: list[Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        Preprocess(chain).split()
