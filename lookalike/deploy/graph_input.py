"""What the graph of a model folder takes, and what of its preprocessing comes before that."""

from __future__ import annotations

from typing import Literal

from lookalike.images import Preprocess
from lookalike.images.split import Pixels

InputKind = Literal["float32_nchw", "uint8_nhwc", "uint8_nhwc_any_size"]
"""Normalised pictures (N, C, H, W); RGB pixels (N, H, W, 3) that the graph normalises; or pixels of pictures
of any size, which it resizes as well.
"""


def before_graph(preprocess: Preprocess, input: InputKind) -> Preprocess | Pixels:
    """What makes of a source what the graph takes: all of the preprocessing, its geometry, or decoding alone.

    Raises UserError as `Preprocess.split`.
    """
    if input == "float32_nchw":
        return preprocess
    pixels = preprocess.split().pixels
    return pixels if input == "uint8_nhwc" else Pixels(pixels.operations[:1])
