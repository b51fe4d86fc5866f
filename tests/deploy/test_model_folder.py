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
from lookalike.deploy.model_folder import GRAPH, MANIFEST


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained / "inference", tmp_path / "model"))


def changed(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        values = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        change(values)
        (folder / MANIFEST).write_text(json.dumps(values), encoding="utf-8")

    return apply


def truncated(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-200]) and None


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda folder: shutil.rmtree(folder), "does not exist"),
        (lambda folder: (folder / MANIFEST).unlink(), "is not a model folder"),
        (lambda folder: (folder / MANIFEST).rename(folder / "model.json"), "export the model again"),
        (lambda folder: (folder / MANIFEST).write_bytes(b"\xff\xfe\x00"), "lookalike.json is damaged"),
        (lambda folder: (folder / MANIFEST).write_text("[]"), "schema version None"),
        (truncated(MANIFEST), "lookalike.json is damaged"),
        (changed(lambda v: v.update(schema_version=2)), "schema version 2 is not the version 1"),
        (changed(lambda v: v.pop("size")), "lookalike.json is damaged"),
        (changed(lambda v: v.update(size="16")), "lookalike.json is damaged"),
        (changed(lambda v: v.update(binarize="half")), "lookalike.json is damaged"),
        (changed(lambda v: v.update(colour=1)), "lookalike.json is damaged"),
        (changed(lambda v: v.update(path="/")), "lookalike.json is damaged"),
        (changed(lambda v: v.update(preprocess=3)), "preprocess must be a list"),
        (changed(lambda v: v["preprocess"][0].update(version=99)), "update Lookalike"),
        (changed(lambda v: v.update(preprocess=[{"NoSuchThing": {}}])), "NoSuchThing"),
        (changed(lambda v: v.update(graph="../../secret.onnx")), "secret.onnx is missing"),
        (lambda folder: (folder / GRAPH).unlink(), "model.onnx is missing"),
        (lambda folder: (folder / GRAPH).write_bytes(b""), "cannot be read as an ONNX graph"),
        (truncated(GRAPH), "cannot be read as an ONNX graph"),
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
