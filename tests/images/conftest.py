"""Small pictures for the tests of this room."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def picture() -> np.ndarray:
    """A smooth colour picture, 24 high and 36 wide, no two corners alike."""
    y, x = np.mgrid[0:24, 0:36]
    return np.stack([x * 7, y * 10, 255 - x * 3 - y * 5], axis=2).clip(0, 255).astype(np.uint8)
