"""PyTorch loads a model folder without the recipe's training half, and nothing that a file says runs code."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lookalike import ModelFolder, Recipe
from lookalike.core.errors import UserError
from lookalike.deploy import load_torch
from lookalike.deploy.architecture import Architecture, write_weights
from lookalike.deploy.deployed import deployed_module
from lookalike.deploy.model_folder import MANIFEST, WEIGHTS
from lookalike.deploy.runtimes.runtime import OnnxRuntime
from lookalike.model import build_model
from tests.tiny import SIDE, recipe_values


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained / "inference", tmp_path / "model"))


def images(count: int = 3) -> torch.Tensor:
    return torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(count))


def kinds(module: torch.nn.Module) -> list[str]:
    return [type(part).__name__ for part in module.modules()]


def test_it_gives_the_features_of_the_graph(trained: Path) -> None:
    opened = ModelFolder.open(trained / "inference")
    module = load_torch(trained / "inference")
    assert not module.training
    with torch.inference_mode():
        found = module(images()).numpy()
    assert found == pytest.approx(OnnxRuntime(opened.graph_file)(images().numpy()), abs=1e-5)


def test_nothing_about_training_is_in_the_folder(trained: Path) -> None:
    opened = ModelFolder.open(trained / "inference")
    assert opened.architecture["arch"].keys() == {"name", "Backbone", "BackboneStopLayer", "Neck"}
    assert "pretrained" not in opened.architecture["arch"]["Backbone"]
    modes = {file.stat().st_mode & 0o777 for file in opened.path.iterdir()}
    assert len(modes) == 1  # who may read one of the files may read all
    assert not [key for key in load_file(opened.weights_file) if key.startswith("head")]


@pytest.mark.parametrize(
    ("backbone", "more", "settings"),
    [
        ({"name": "PPLCNetV2_small", "class_expand": 32, "use_ssld": False}, {}, {}),  # with joined branches
        ({"name": "PPLCNet_x0_25", "class_expand": 32}, {"infer_output_key": "logits"}, {}),
        ({"name": "PPLCNet_x0_25", "class_expand": 32}, {"infer_output_key": "backbone"}, {}),
        ({"name": "PPLCNet_x0_25", "class_expand": 32}, {}, {"feature_normalize": False}),
        (
            {"name": "PPLCNet_x0_25", "class_expand": 32},
            {"freeze": ["backbone"]},
            {"reference_behaviour": True},
        ),
    ],
)
def test_there_and_back(
    pictures: Path, trained: Path, tmp_path: Path, backbone: Any, more: Any, settings: Any
) -> None:
    values = recipe_values(pictures, tmp_path)
    values["Arch"] |= {"Backbone": backbone, **more}
    values["Global"] |= settings
    recipe = Recipe.from_dict(values)
    module = deployed_module(recipe, build_model(recipe.arch, recipe.global_.reference_behaviour).eval())
    write_weights(module, tmp_path / WEIGHTS)
    opened = ModelFolder.open(trained / "inference")
    opened.path, opened.output, opened.normalized = tmp_path, module.key, module.normalize
    opened.architecture = json.loads(json.dumps(Architecture.of(recipe, module).to_json()))
    loaded = load_torch(opened)
    with torch.inference_mode():
        assert torch.equal(loaded(images()), module(images()))
    assert kinds(loaded) == kinds(module)


def changed(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        values = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        change(values["architecture"])
        (folder / MANIFEST).write_text(json.dumps(values), encoding="utf-8")

    return apply


def renamed_weight(folder: Path) -> None:
    state = load_file(folder / WEIGHTS)
    state["backbone.other"] = state.pop(next(iter(state)))
    save_file(state, folder / WEIGHTS)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda folder: (folder / WEIGHTS).unlink(), f"{WEIGHTS}, which is missing"),
        (lambda folder: (folder / WEIGHTS).write_bytes(b"x" * 50), "is not a safetensors file"),
        (renamed_weight, "does not hold the weights"),
        (changed(lambda v: v.clear()), "architecture.arch: Field required"),
        (changed(lambda v: v["arch"]["Backbone"].update(name="NoSuchNet")), "NoSuchNet"),
        (changed(lambda v: v["arch"]["Neck"].update(class_num=8)), "does not hold the weights"),
    ],
)
def test_damage_is_one_sentence(folder: Path, damage: Callable[[Path], Any], told: str) -> None:
    damage(folder)
    with pytest.raises(UserError, match=told) as caught:
        load_torch(folder)
    assert len(str(caught.value).splitlines()) == 1
