"""Vectors that are kept for the next time: when they are taken, and when they are made anew."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from lookalike.deploy.embedder import Embedder
from lookalike.deploy.extraction import extract
from lookalike.images import Preprocess


def mean_colour(fingerprint: str = "a") -> Embedder:
    """A model whose vector is the mean colour, and which counts the batches it is given."""

    def run(batch: np.ndarray) -> np.ndarray:
        run.batches += 1  # type: ignore[attr-defined]
        return batch.mean(axis=(2, 3))

    run.batches = 0  # type: ignore[attr-defined]
    return Embedder.of(
        run, Preprocess([{"ResizeImage": {"size": [8, 8]}}]), 3, None, fingerprint, "mean colour"
    )


def test_kept_vectors(pictures: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    paths = [str(pictures / "pictures" / "class 6" / f"{number}.png") for number in range(3)]
    own = tmp_path / "own.png"
    own.write_bytes(Path(paths[0]).read_bytes())
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    listed, cache = [*paths, str(broken), str(own)], tmp_path / "cache"

    def extracted(fingerprint: str = "a", names: list[str] = listed) -> tuple[np.ndarray, int]:
        model = mean_colour(fingerprint)
        found = extract(model, names, cache=cache)
        assert [names[place] for place in found.kept] == [name for name in names if name != str(broken)]
        assert [names[place] for place in found.broken] == [name for name in names if name == str(broken)]
        return found.vectors, model.runtime.batches  # type: ignore[attr-defined]

    first, batches = extracted()
    assert batches == 1
    plain = extract(mean_colour(), listed)
    assert np.array_equal(plain.vectors, first)
    again, batches = extracted()
    assert batches == 0
    assert np.array_equal(again, first)
    assert extract(mean_colour(), listed, cache=cache).broken == plain.broken  # with the reason
    assert extracted("b")[1] == 1  # another model
    assert extracted(names=listed[::-1])[1] == 1  # another order
    own.write_bytes(Path(paths[1]).read_bytes())
    os.utime(own, ns=(1, 1))
    changed, batches = extracted()
    assert batches == 1
    assert np.array_equal(changed[3], first[1])
    for file in cache.iterdir():
        file.write_bytes(b"damaged")
    assert extracted()[1] == 1
    assert "is damaged and made anew" in caplog.text
