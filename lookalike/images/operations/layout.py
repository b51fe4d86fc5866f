"""ToCHWImage: channels first."""

from __future__ import annotations

import numpy as np

from lookalike.images.operations.base import Operation, operations


@operations.register("ToCHWImage")
class ToCHWImage(Operation):
    """(H, W, C) to (C, H, W)."""

    gives = "chw"

    def __call__(self, image: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(image.transpose(2, 0, 1))
