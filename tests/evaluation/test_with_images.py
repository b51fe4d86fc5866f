"""An evaluation over image files, read by the loaders that recipes build."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch

from lookalike.data import build_loader
from lookalike.evaluation import evaluate

COLOURS = {"blue": (255, 0, 0), "green": (0, 255, 0), "red": (0, 0, 255)}


def loader(folder: Path) -> object:
    section = {
        "dataset": {"name": "FolderDataset", "image_root": str(folder), "max_broken_share": 0.5},
        "sampler": {"name": "DistributedBatchSampler", "batch_size": 4, "drop_last": False, "shuffle": False},
        "loader": {"num_workers": 0},
    }
    return build_loader(section, training=False)


def test_colours_of_a_folder(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (tmp_path / name).mkdir()
        for number in range(3):
            noise = generator.integers(0, 60, (8, 8, 3))
            image = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
            cv2.imwrite(str(tmp_path / name / f"{number}.png"), image)
    broken = tmp_path / "red" / "9.png"
    broken.write_bytes(b"no image")

    def mean_colour(images: torch.Tensor) -> torch.Tensor:
        return images.mean(dim=(2, 3)) - images.mean()

    for gallery in (None, loader(tmp_path)):  # one set, and the same files listed twice
        found = evaluate(mean_colour, loader(tmp_path), gallery)
        assert found.metrics == {"recall1": 1.0, "recall5": 1.0, "mAP": 1.0}
        assert (found.queries, found.gallery) == (9, 9)
        assert [(each.path, each.where) for each in found.broken] == [(str(broken), "")]
