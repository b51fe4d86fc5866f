"""A recipe with Slim: trained weights become smaller, go on training, and are used without it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from lookalike import Embedder, ModelFolder, Recipe, evaluate, export, train
from lookalike.core.errors import UserError
from lookalike.deploy.export.from_recipe import INTEGER_PARITY, trained_model
from lookalike.doctor import check_recipe
from lookalike.training.trainer import Trainer
from tests.tiny import recipe_values
from tests.training.runs import differing_tensors, interrupted_train

PRUNE = {"prune": {"name": "fpgm", "pruned_ratio": 0.3, "multiple_of": 1}}
QUANT = {"quant": {"name": "pact"}}


def recipe(pictures: Path, output: Path, slim: dict[str, Any] | None = None, **settings: Any) -> Recipe:
    values = recipe_values(pictures, output, epochs=1)
    values["Global"] |= settings
    if slim is not None:
        values["Slim"] = slim
    return Recipe.from_dict(values)


@pytest.fixture(scope="module")
def weights(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Weights of a short training without Slim."""
    output = tmp_path_factory.mktemp("before")
    return f"{train(recipe(pictures, output)).folder}/latest"


@pytest.fixture(scope="module", params=["prune", "quant", "both"])
def slimmed(
    request: pytest.FixtureRequest, pictures: Path, weights: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    """What was asked for, and the checkpoint of a training that started from trained weights."""
    slim = {"prune": PRUNE, "quant": QUANT, "both": {**PRUNE, **QUANT}}[request.param]
    output = tmp_path_factory.mktemp(request.param)
    run = train(recipe(pictures, output, slim, pretrained_model=weights))
    return request.param, Path(run.folder) / "latest"


def test_structure_follows_the_weights_without_the_section(pictures: Path, slimmed: tuple[str, Path]) -> None:
    kind, folder = slimmed
    loaded = trained_model(recipe(pictures, folder.parent.parent, pretrained_model=str(folder)), "features")
    assert loaded.structure is not None
    assert bool(loaded.structure.widths) == (kind != "quant")
    assert (loaded.structure.quantisation is not None) == (kind != "prune")
    scored = evaluate(recipe(pictures, folder.parent.parent, pretrained_model=str(folder)))
    again = evaluate(recipe(pictures, folder.parent.parent, QUANT | PRUNE, pretrained_model=str(folder)))
    assert scored.metrics == again.metrics
    assert np.isfinite(list(scored.metrics.values())).all()


def test_export_and_embed(pictures: Path, slimmed: tuple[str, Path], tmp_path: Path) -> None:
    kind, folder = slimmed
    wanted = recipe(pictures, tmp_path, pretrained_model=str(folder))
    result = export(wanted)
    assert result.precision == ("float32" if kind == "prune" else "int8")
    assert ModelFolder.open(result.folder).precision == result.precision
    paths = sorted(str(path) for path in pictures.rglob("*.png"))[:6]
    exported = Embedder(result.folder).encode(paths)
    of_checkpoint = Embedder.from_checkpoint(folder).encode(paths)
    cosines = (exported * of_checkpoint).sum(axis=1)  # both are of length 1
    assert cosines.min() > 1 - (1e-6 if kind == "prune" else INTEGER_PARITY)


def test_int8_folder_runs_integer_kernels_and_is_small(
    pictures: Path, slimmed: tuple[str, Path], weights: str, tmp_path: Path
) -> None:
    kind, folder = slimmed
    if kind != "quant":
        pytest.skip("one of them is enough")
    small = export(recipe(pictures, tmp_path / "a", pretrained_model=str(folder)))
    large = export(recipe(pictures, tmp_path / "b", pretrained_model=weights))
    file = Path(small.folder) / "model.onnx"
    assert file.stat().st_size < 0.6 * (Path(large.folder) / "model.onnx").stat().st_size
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    operations = [node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node]
    assert operations.count("QLinearConv") == 32  # every convolution of PPLCNet
    assert "Conv" not in operations
    assert "QGemm" in operations


@pytest.mark.parametrize("slim", [PRUNE, QUANT], ids=["prune", "quant"])
def test_resumed_run_equals_uninterrupted_run(
    slim: dict[str, Any], pictures: Path, weights: str, tmp_path: Path
) -> None:
    whole = train(recipe(pictures, tmp_path / "whole", slim, pretrained_model=weights))
    interrupted_train(recipe(pictures, tmp_path / "parts", slim, pretrained_model=weights), 2)
    latest = tmp_path / "parts/RecModel/latest"
    resumed = train(recipe(pictures, tmp_path / "parts", slim, checkpoints=str(latest)))
    assert resumed.metrics == whole.metrics
    assert differing_tensors(tmp_path / "whole/RecModel/latest", latest) == []


def test_pruned_weights_are_not_pruned_again(
    pictures: Path, slimmed: tuple[str, Path], tmp_path: Path
) -> None:
    kind, folder = slimmed
    if kind != "prune":
        pytest.skip("nothing was pruned alone")
    further = recipe(pictures, tmp_path, {**PRUNE, **QUANT}, pretrained_model=str(folder))
    before = trained_model(further, "features")
    trainer = Trainer(further, torch.device("cpu"), tmp_path / "RecModel")
    structure = trainer.model.structure
    assert before.structure is not None
    assert structure.widths == before.structure.widths
    assert structure.quantisation is not None


def test_check_says_what_slim_does(pictures: Path, tmp_path: Path) -> None:
    wanted = recipe(pictures, tmp_path, {**PRUNE, **QUANT})
    file = tmp_path / "recipe.yaml"
    file.write_text(wanted.dump())
    told = [text for text in check_recipe(file).to_dict()["passed"] if text.startswith("slim:")]
    assert "M parameters" in told[0]
    assert "→" in told[0]
    assert "multiply-adds" in told[0]
    assert "33 layers" in told[1]


def test_what_does_not_go_together(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    averaged = recipe_values(pictures, tmp_path, epochs=1) | {"EMA": {"decay": 0.9}, "Slim": QUANT}
    with pytest.raises(UserError, match=r"Slim.quant: does not go together with EMA"):
        train(Recipe.from_dict(averaged))
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    with pytest.raises(UserError, match=r"Slim.prune needs torch-pruning.*lookalike\[slim\]"):
        train(recipe(pictures, tmp_path, PRUNE))


@pytest.mark.parametrize(
    ("slim", "message"),
    [
        ({"prune": {"name": "fpgm"}}, r"Slim.prune: needs the key 'pruned_ratio'"),
        ({"prune": {"name": "fpgm", "pruned_ratio": 1.0}}, r"pruned_ratio: must be less than 1"),
        ({"prune": {"name": "random", "pruned_ratio": 0.3}}, r"must be one of 'fpgm' or 'l1_norm'"),
        ({"quant": {"nam": "pact"}}, r"unknown key 'nam', did you mean 'name'"),
    ],
)
def test_wrong_sections_are_told(slim: dict[str, Any], message: str, pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        recipe(pictures, tmp_path, slim)
