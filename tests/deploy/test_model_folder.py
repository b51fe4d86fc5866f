"""A model folder that is damaged, incomplete or too new is told in one sentence."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lookalike import Embedder, ModelFolder
from lookalike.core.errors import UserError
from lookalike.deploy.calibration import calibrate
from lookalike.deploy.model_folder import (
    CARD,
    FILES,
    GRAPH,
    MANIFEST,
    refuse_foreign_folder,
)
from lookalike.deploy.thresholds import Thresholds
from lookalike.images.feature_table import FeatureTable


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
        (lambda folder: (folder / MANIFEST).write_bytes(b"\xff\xfe\x00"), "lookalike.json is damaged"),
        (lambda folder: (folder / MANIFEST).write_text("[]"), "schema version None"),
        (truncated(MANIFEST), "lookalike.json is damaged"),
        (changed(lambda v: v.update(schema_version=2)), "version 2 is not the version 1 .*; export"),
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


@pytest.mark.parametrize(
    "inside",
    [(), (MANIFEST,), FILES],
    ids=["nothing", "manifest", "all"],
)
def test_a_model_folder_may_be_replaced(inside: tuple[str, ...], tmp_path: Path) -> None:
    for name in inside:
        (tmp_path / name).touch()
    refuse_foreign_folder(tmp_path, "no")
    refuse_foreign_folder(tmp_path / "new", "no")


@pytest.mark.parametrize(
    ("inside", "told"),
    [
        ((CARD,), "other things than a model folder (README.md), which"),
        ((GRAPH,), "other things than a model folder (model.onnx), which"),
        ((MANIFEST, GRAPH, "photos", "notes.txt"), "(notes.txt, photos), which"),
        (tuple("abcd"), "(a, b, c), which"),
    ],
)
def test_what_is_no_model_folder_is_not_replaced(inside: tuple[str, ...], told: str, tmp_path: Path) -> None:
    for name in inside:
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=f"{re.escape(told)}.*: name another$"):
        refuse_foreign_folder(tmp_path, "name another")


def test_a_file_is_not_replaced_by_a_model_folder(tmp_path: Path) -> None:
    (tmp_path / CARD).write_text("mine")
    with pytest.raises(UserError, match=r"README.md is a file, .*: name another$"):
        refuse_foreign_folder(tmp_path / CARD, "name another")


def thresholds_of(fingerprint: str) -> Thresholds:
    vectors = np.random.default_rng(0).normal(size=(40, 16)).astype(np.float32)
    pairs = FeatureTable(vectors, [f"{n}.png" for n in range(40)], np.arange(40) // 2)
    return calibrate(fingerprint, pairs, resamples=5)


def test_thresholds_leave_what_changed_since_the_folder_was_opened(folder: Path) -> None:
    opened = ModelFolder.open(folder)
    changed(lambda v: v.update(license="MIT", metrics={"recall1": 0.9}))(folder)
    opened.write_thresholds(thresholds_of(opened.fingerprint))
    now = ModelFolder.open(folder)
    assert (now.license, now.metrics) == ("MIT", {"recall1": 0.9})
    assert now.found_thresholds() == opened.found_thresholds() is not None


def test_thresholds_of_a_model_that_was_replaced_meanwhile_are_refused(folder: Path) -> None:
    opened = ModelFolder.open(folder)
    changed(lambda v: v.update(fingerprint="0" * 64))(folder)
    before = (folder / MANIFEST).read_bytes()
    with pytest.raises(UserError, match="another model than the thresholds were found with"):
        opened.write_thresholds(thresholds_of(opened.fingerprint))
    assert (folder / MANIFEST).read_bytes() == before
