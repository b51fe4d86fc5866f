"""The registries of this room: what a recipe may name in `transform_ops` beside the deterministic
operations, and as `sampler`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from lookalike.core.registry import Registry


class Augmentation(Protocol):
    """A random operation: image (H, W, C) or (C, H, W) after `ToTensor`, and the generator to draw from."""

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray: ...


class Sampler(Protocol):
    """Lists of indices, one a batch; the same for the same seed, epoch and rank.

    One that draws the size of each batch gives (width, height, index) in place of an index.
    """

    batch_size: int

    def set_epoch(self, epoch: int) -> None: ...

    def __iter__(self) -> Iterator[list[Any]]: ...

    def __len__(self) -> int: ...


augmentations: Registry[Augmentation] = Registry("augmentation")
samplers: Registry[Sampler] = Registry("sampler")
