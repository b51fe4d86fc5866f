"""A loader in memory whose images are vectors: what an evaluation needs of one, and nothing more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch


@dataclass
class Vectors:
    """Batches of `batch_size` rows; rows of `order` only, which may repeat rows as padding does."""

    features: np.ndarray
    labels: np.ndarray
    cameras: np.ndarray | None = None
    paths: list[str] | None = None
    batch_size: int = 16
    order: np.ndarray | None = None
    broken: dict[str, str] = field(default_factory=dict)
    broken_at: dict[str, str] = field(default_factory=dict)

    @property
    def records(self) -> Any:
        return SimpleNamespace(paths=self.paths) if self.paths else None

    def __post_init__(self) -> None:
        if self.order is None:
            self.order = np.arange(len(self.features))

    def __len__(self) -> int:
        return -(-len(self.order) // self.batch_size)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for start in range(0, len(self.order), self.batch_size):
            rows = self.order[start : start + self.batch_size]
            batch = {"image": self.features[rows], "label": self.labels[rows], "index": rows}
            if self.cameras is not None:
                batch["camera"] = self.cameras[rows]
            yield {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in batch.items()}


def random_set(
    count: int, seed: int = 0, classes: int = 6, dimensions: int = 12, cameras: bool = False, **more: Any
) -> Vectors:
    """Features that lean towards the centre of their class."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, count)
    centres = np.random.default_rng(99).normal(size=(classes, dimensions))
    features = (centres[labels] + 2 * generator.normal(size=(count, dimensions))).astype(np.float32)
    return Vectors(features, labels, generator.integers(0, 3, count) if cameras else None, **more)
