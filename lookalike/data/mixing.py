"""How two images are mixed: by a share, a box or a smooth mask."""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor


def mixed(own: Tensor, other: Tensor, share: float | Tensor) -> Tensor:
    """share * own + (1 - share) * other"""
    return share * own + (1 - share) * other


def random_box(height: int, width: int, share: float, rng: np.random.Generator) -> tuple[slice, slice, float]:
    """Rows and columns of a box of the area 1 - share around a random point, cut at the border, and the share
    that is left outside.
    """
    side = math.sqrt(1.0 - share)
    cut_height, cut_width = int(height * side), int(width * side)
    row, column = int(rng.integers(height)), int(rng.integers(width))
    top, bottom = max(row - cut_height // 2, 0), min(row + cut_height // 2, height)
    left, right = max(column - cut_width // 2, 0), min(column + cut_width // 2, width)
    outside = 1.0 - (bottom - top) * (right - left) / (height * width)
    return slice(top, bottom), slice(left, right), outside


def box_of_share(
    height: int, width: int, least: float, most: float, rng: np.random.Generator
) -> tuple[slice, slice, float]:
    """Rows and columns of a box whose sides are drawn from least … most of the image's, inside of it, and the
    share that is left outside.
    """
    cut_height = int(rng.integers(int(height * least), max(int(height * most), int(height * least) + 1)))
    cut_width = int(rng.integers(int(width * least), max(int(width * most), int(width * least) + 1)))
    top = int(rng.integers(0, height - cut_height + 1))
    left = int(rng.integers(0, width - cut_width + 1))
    outside = 1.0 - cut_height * cut_width / (height * width)
    return slice(top, top + cut_height), slice(left, left + cut_width), outside


def low_frequency_mask(
    height: int, width: int, share: float, decay_power: float, max_soft: float, rng: np.random.Generator
) -> np.ndarray:
    """(H, W) float32 in 0..1: 1 on the `share` of the pixels where a smooth random field is highest, else 0.

    With `max_soft` the values fall in a ramp over that share of the pixels on both sides of the border, less
    where the border is nearer to an end.
    """
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    frequency = np.maximum(frequency, 1.0 / max(height, width))
    spectrum = rng.standard_normal((2, *frequency.shape)) / frequency**decay_power
    field = np.fft.irfft2(spectrum[0] + 1j * spectrum[1], s=(height, width))
    order = np.empty(field.size)
    order[np.argsort(-field, axis=None)] = (np.arange(field.size) + 0.5) / field.size
    soft = min(max_soft, share, 1.0 - share)
    if soft > 0:
        mask = np.clip((share + soft - order) / (2 * soft), 0.0, 1.0)
    else:
        mask = (order < share).astype(np.float64)
    return mask.reshape(height, width).astype(np.float32)
