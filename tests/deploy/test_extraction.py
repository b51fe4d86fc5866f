"""Vectors that are kept for the next time: when they are taken, and when they are made anew."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from lookalike.core.errors import UserError
from lookalike.deploy import extraction
from lookalike.deploy.embedder import Embedder
from lookalike.deploy.extraction import extract
from lookalike.deploy.views import with_views
from lookalike.images import Preprocess
from lookalike.recipe import Views


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


def test_another_precision_is_another_result(pictures: Path, tmp_path: Path) -> None:
    """A fingerprint is that of the weights, whatever they are computed in."""
    paths = [str(pictures / "pictures" / "class 6" / "0.png")]
    for precision in ("fp32", "bf16"):
        model = mean_colour()
        model.runtime.precision = precision  # type: ignore[attr-defined]
        for each in (model, with_views(model, Views(flip=True), unit=False)):
            extract(each, paths, cache=tmp_path)
        assert model.runtime.batches == 3  # type: ignore[attr-defined]
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_a_cache_that_cannot_be_written_is_told_before_the_work(
    name: str, pictures: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_bytes(b"")
    model = mean_colour()
    with pytest.raises(UserError, match=rf"{name}: vectors cannot be kept there \(Not a directory\)"):
        extract(model, [str(pictures / "pictures" / "class 6" / "0.png")], cache=tmp_path / name)
    assert model.runtime.batches == 0  # type: ignore[attr-defined]
    assert not caplog.records


def test_vectors_are_given_also_where_they_cannot_be_kept_in_the_end(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(extraction.np, "savez", full)
    found = extract(mean_colour(), [str(pictures / "pictures" / "class 6" / "0.png")], cache=tmp_path)
    assert found.vectors.shape == (1, 3)
    assert "cannot be written, so nothing is kept: the disk is full: no space" in caplog.text
    assert not list(tmp_path.iterdir())


def test_a_name_stands_for_the_files_of_the_model(trained: Path, pictures: Path, tmp_path: Path) -> None:
    """Other weights under the fingerprint of these would be kept, and taken, as theirs."""
    folder = shutil.copytree(trained / "inference", tmp_path / "inference")
    model = Embedder(folder, backend="onnx")
    graph = folder / "model.onnx"
    graph.write_bytes(graph.read_bytes() + b"\0")
    with pytest.raises(UserError, match="do not fit the fingerprint"):
        extract(model, [str(pictures / "pictures" / "class 6" / "0.png")], cache=tmp_path / "cache")
