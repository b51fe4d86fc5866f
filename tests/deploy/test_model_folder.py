"""A model folder that is damaged, incomplete or too new is told in one sentence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lookalike import Embedder
from lookalike.core.errors import UserError


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained / "inference", tmp_path / "model"))


def changed(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        values = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        change(values)
        (folder / "model.json").write_text(json.dumps(values), encoding="utf-8")

    return apply


def truncated(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-200]) and None


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda folder: shutil.rmtree(folder), "does not exist"),
        (lambda folder: (folder / "model.json").unlink(), "is not a model folder"),
        (lambda folder: (folder / "model.json").write_bytes(b"\xff\xfe\x00"), "model.json is damaged"),
        (lambda folder: (folder / "model.json").write_text("[]"), "format None"),
        (truncated("model.json"), "model.json is damaged"),
        (changed(lambda v: v.update(format=2)), "format 2 is not the format 1"),
        (changed(lambda v: v.pop("size")), "model.json is damaged"),
        (changed(lambda v: v.update(size="16")), "model.json is damaged"),
        (changed(lambda v: v.update(binarize="half")), "model.json is damaged"),
        (changed(lambda v: v.update(colour=1)), "model.json is damaged"),
        (changed(lambda v: v.update(path="/")), "model.json is damaged"),
        (changed(lambda v: v.update(preprocess=3)), "preprocess must be a list"),
        (changed(lambda v: v["preprocess"][0].update(version=99)), "update Lookalike"),
        (changed(lambda v: v.update(preprocess=[{"NoSuchThing": {}}])), "NoSuchThing"),
        (changed(lambda v: v.update(graph="../../secret.onnx")), "secret.onnx is missing"),
        (lambda folder: (folder / "model.onnx").unlink(), "model.onnx is missing"),
        (lambda folder: (folder / "model.onnx").write_bytes(b""), "cannot be read as an ONNX graph"),
        (truncated("model.onnx"), "cannot be read as an ONNX graph"),
    ],
)
def test_damage_is_one_sentence(folder: Path, damage: Callable[[Path], Any], told: str) -> None:
    damage(folder)
    with pytest.raises(UserError, match=told) as caught:
        Embedder(folder)
    assert len(str(caught.value).splitlines()) == 1


def test_files_that_do_not_fit_the_fingerprint_are_told(folder: Path) -> None:
    Embedder(folder).verify()
    changed(lambda v: v.update(normalized=not v["normalized"]))(folder)
    model = Embedder(folder)
    with pytest.raises(UserError, match="do not fit the fingerprint"):
        model.verify()
