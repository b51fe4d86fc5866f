"""Small sets of images for the tests of this room."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

NORMALISE = {"NormalizeImage": {"scale": "1.0/255.0", "mean": [0.5] * 3, "std": [0.5] * 3, "order": "hwc"}}
RANDOM_OPS = [
    {"RandCropImage": {"size": 16}},
    {"RandFlipImage": {"flip_code": 1}},
    {"ColorJitter": {"brightness": 0.3, "hue": 0.1}},
    {"RandomAffine": {"degrees": 10, "translate": 0.1}},
    {"AugMix": {"prob": 0.5}},
    NORMALISE,
    {"RandomErasing": {"EPSILON": 0.5}},
]


def write_images(folder: Path, labels: list[int], cameras: list[int] | None = None) -> Path:
    """Write one 24x20 (width x height) PNG an entry and a list file beside them; returns the list file."""
    rng = np.random.default_rng(5)
    lines = []
    for index, label in enumerate(labels):
        image = cv2.resize(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8), (24, 20))
        cv2.imwrite(str(folder / f"{index:03}.png"), image)
        camera = f" {cameras[index]}" if cameras else ""
        lines.append(f"{index:03}.png {label}{camera}\n")
    (folder / "list.txt").write_text("".join(lines), encoding="utf-8")
    return folder / "list.txt"


def dataset_section(folder: Path, ops: list[Any] | None = None, **options: Any) -> dict[str, Any]:
    return {
        "name": "ImageNetDataset",
        "image_root": str(folder),
        "cls_label_path": str(folder / "list.txt"),
        "transform_ops": RANDOM_OPS if ops is None else ops,
        **options,
    }


def loader_section(
    folder: Path, workers: int = 0, sampler: dict[str, Any] | None = None, **options: Any
) -> dict[str, Any]:
    return {
        "dataset": dataset_section(folder, **options),
        "sampler": sampler or {"name": "DistributedBatchSampler", "batch_size": 4, "shuffle": True},
        "loader": {"num_workers": workers},
    }
