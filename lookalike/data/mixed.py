"""Several data sets as one, each with its own transforms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from lookalike.core.errors import UserError
from lookalike.data.image_dataset import ImageDataset
from lookalike.data.transforms import Transforms
from lookalike.images.mixture import concatenate


class MixedDataset(ImageDataset):
    """The images of `parts`, one after the other; each part decodes and transforms its own.

    `lengths` has how many images each part gives, for samplers that take shares of them.
    """

    def __init__(
        self,
        parts: Sequence[ImageDataset],
        seed: int = 0,
        rotated_classes: bool = False,
        cache: Literal["ram"] | None = None,
        max_broken_share: float = 0.01,
    ) -> None:
        if not parts:
            raise UserError("MixDataset needs at least one data set in datasets_config")
        if rotated_classes or cache:
            raise UserError(
                "rotated_classes and cache belong to the blocks of datasets_config, not beside them"
            )
        records = concatenate([part.records for part in parts])
        super().__init__(records, parts[0].transforms, seed, max_broken_share=max_broken_share)
        self.parts = list(parts)
        self.lengths = [len(part) for part in parts]
        self._ends = np.cumsum(self.lengths)

    def _part_of(self, index: int) -> tuple[ImageDataset, int]:
        number = int(np.searchsorted(self._ends, index, side="right"))
        return self.parts[number], index - int(self._ends[number] - self.lengths[number])

    def picture(self, index: int) -> np.ndarray:
        part, own = self._part_of(index)
        return part.picture(own)

    def transforms_of(self, index: int, size: tuple[int, int] | None = None) -> Transforms:
        part, own = self._part_of(index)
        return part.transforms_of(own, size)

    def fill_cache(self) -> dict[str, str]:
        return {path: reason for part in self.parts for path, reason in part.fill_cache().items()}
