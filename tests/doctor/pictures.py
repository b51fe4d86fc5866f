"""Tiny pictures in the forms that `init` takes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np


def draw_class(folder: Path, count: int, seed: int, side: int = 24, grey: bool = False) -> None:
    """Noise around a colour of the class, so that no two files are the same."""
    generator = np.random.default_rng(seed)
    colour = generator.integers(40, 216, 3)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        picture = colour + generator.integers(-30, 31, (side, side, 3))
        if grey:
            picture[:] = picture[..., :1]
        # the file system may hold names that OpenCV cannot write
        ok, data = cv2.imencode(".png", np.clip(picture, 0, 255).astype(np.uint8))
        assert ok
        (folder / f"{number}.png").write_bytes(data.tobytes())


def draw_classes(folder: Path, counts: list[int], grey: bool = False) -> Path:
    for label, count in enumerate(counts):
        draw_class(folder / f"class {label}", count, label, grey=grey)
    return folder


def read_lines(path: str | Path) -> list[tuple[str, int]]:
    """(path, label) of each line of a written list."""
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    return [(line.split("\t")[0], int(line.split("\t")[1])) for line in lines]
