"""Every recognition config of the reference, from its recipe to the embedding of a picture.

Each recipe runs on generated pictures, in the file formats and at the paths that it names itself: `check`,
`train` for two iterations, `eval`, `export`, `embed`. In `make test` the networks are narrow and one config
of each family exports; `make test-configs` runs all of them with their full width, and exports all.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from lookalike.deploy import Embedder
from lookalike.doctor import rehearsal
from lookalike.recipe import load_recipe
from tests.cli.conftest import Command
from tests.configs import networks
from tests.configs.pictures import Picture, draw, write_pictures
from tests.configs.small import small
from tests.configs.spelling import as_the_reference_writes
from tests.configs.table import ROWS, Row


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # times are not what is asked here
    monkeypatch.setattr(rehearsal, "STEPS", 1)
    monkeypatch.setattr(rehearsal, "LONG_ENOUGH", 0.0)


def write_recipe(row: Row, shrunk: bool) -> dict[str, Any]:
    """Write the recipe of a row for a few pictures, and the pictures."""
    values = small(load_recipe(row.recipe).to_dict(), row, shrunk)
    if shrunk:
        networks.fit(values)
    _write("recipe.yaml", values)
    if "DataLoader" in values:
        _write("reference.yaml", as_the_reference_writes(values))
        write_pictures(values["DataLoader"], row)
    return values


def _write(file: str, values: dict[str, Any]) -> None:
    Path(file).write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")


def train_and_score(command: Command) -> str:
    """Run check and train in the reference's spelling, and eval. Returns the override with the weights."""
    checked = command("check", "-c", "reference.yaml", "--json")
    assert checked.code == 0, checked.out + checked.err
    trained = command("train", "-c", "reference.yaml", "--json").json()
    weights = f"Global.pretrained_model={trained['folder']}/best_model"
    scored = command("eval", "-c", "recipe.yaml", "-o", weights, "--json").json()
    assert scored["metrics"], scored
    assert all(0 <= value <= 1 for value in scored["metrics"].values()), scored
    return weights


def export_and_embed(command: Command, values: dict[str, Any], weights: str) -> None:
    """Export the trained weights and embed a picture, by command and by the class.

    Codes have eight bits a byte.
    """
    exported = command("export", "-c", "recipe.yaml", "-o", weights, "--json").json()
    scored = values["DataLoader"]["Eval"] if "DataLoader" in values else values["RecPreProcess"]
    side = 48 if "Resize" in str(scored) else values["Global"]["image_shape"][1]
    draw(Path("one.jpg"), Picture(1, 0, "query"), side, side)
    told = command("embed", exported["folder"], "one.jpg", "--json").json()
    vector = np.asarray(told["vectors"][0]["vector"], np.float32)
    width = exported["size"] // 8 if values["Global"].get("feature_binarize") else exported["size"]
    assert vector.shape == (width,)
    assert np.isfinite(vector).all()
    np.testing.assert_allclose(Embedder(exported["folder"]).encode(["one.jpg"])[0], vector, atol=1e-5)


def run(command: Command, row: Row, shrunk: bool, exports: bool) -> None:
    if row.starts_from is not None:
        (before,) = (other for other in ROWS if other.recipe == row.starts_from)
        write_recipe(before, shrunk)
        weights = train_and_score(command)
        values = write_recipe(row, shrunk)
        export_and_embed(command, values, weights)
        return
    values = write_recipe(row, shrunk)
    weights = train_and_score(command)
    if exports:
        export_and_embed(command, values, weights)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.config)
def test_a_config_runs(row: Row, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    networks.shrink(monkeypatch)
    run(command, row, shrunk=True, exports=row.exported)


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.config)
def test_a_config_runs_at_its_full_width(row: Row, command: Command) -> None:
    run(command, row, shrunk=False, exports=True)


def test_the_table_is_whole() -> None:
    assert len({row.config for row in ROWS}) == len({row.recipe for row in ROWS}) == 36
