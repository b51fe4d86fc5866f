"""Features of a set of images, and what is known of each: what a search is scored on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from lookalike.evaluation.loader import LeftOut


@dataclass(frozen=True)
class FeatureSet:
    """Features (N, D) of the images of a dataset, and for each its label, camera and row of the dataset.

    `labels` and `cameras` are numbers or text; `paths` has the file of each image where it is known, `broken`
    those left out. `binary`: the features are codes of 0 and 1 (or of -1 and 1), compared by Hamming
    distance. `distractors` (N,) marks images that are of no known class: ranked in a gallery, never right.
    `class_names` has the name of each label where labels are numbers that stand for names.
    """

    features: npt.NDArray[Any]
    labels: npt.NDArray[Any]
    cameras: npt.NDArray[Any] | None
    indices: npt.NDArray[np.int64]
    paths: list[str] | None
    broken: list[LeftOut] = field(default_factory=list)
    binary: bool = False
    distractors: npt.NDArray[np.bool_] | None = None
    class_names: Mapping[int, str] | None = None

    def __len__(self) -> int:
        return len(self.features)

    def class_of(self, row: int) -> str:
        """The name of the class of an image, or its label where that stands for no name."""
        label = self.labels[row].item()
        return str((self.class_names or {}).get(label, label))

    def name_of(self, row: int) -> str:
        """The file of an image, or its row in the dataset where files are not known."""
        return self.paths[row] if self.paths else f"row {self.indices[row]}"
