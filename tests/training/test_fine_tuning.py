"""Fine-tuning a network of timm with frozen layers and rates that fall towards the stem."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from lookalike import Recipe, train
from lookalike.model import build_model
from lookalike.training import build_optimizer
from tests.tiny import SIDE, TRAIN_CLASSES, recipe_values

VIT = {
    "name": "timm/vit_tiny_patch16_224",
    "img_size": SIDE,
    "patch_size": 8,
    "embed_dim": 16,
    "num_heads": 2,
    "depth": 3,
}


def _values(pictures: Path, output: Path) -> dict[str, Any]:
    values = recipe_values(pictures, output, epochs=1)
    values["Arch"] = {
        "name": "RecModel",
        "Backbone": VIT,
        "Neck": {"name": "FC", "embedding_size": 16, "class_num": 8},
        "Head": {"name": "FC", "embedding_size": 8, "class_num": TRAIN_CLASSES},
        "freeze": ["backbone.patch_embed", "backbone.blocks[0]"],
    }
    values["Optimizer"] = {
        "name": "AdamW",
        "weight_decay": 0.05,
        "layer_decay": 0.5,
        "lr": {"name": "Cosine", "learning_rate": 0.01},
    }
    return values


def test_frozen_layers_stay_and_the_others_learn(pictures: Path, tmp_path: Path) -> None:
    values = _values(pictures, tmp_path)
    torch.manual_seed(values["Global"]["seed"])
    before = build_model(Recipe.from_dict(values).arch).state_dict()
    train(Recipe.from_dict(values))
    after = load_file(tmp_path / "RecModel/latest/model.safetensors")
    frozen = [name for name in after if name.startswith(("backbone.patch_embed.", "backbone.blocks.0."))]
    moved = [name for name in after if name.startswith(("backbone.blocks.2.", "neck.", "head."))]
    assert frozen
    assert all(torch.equal(before[name], after[name]) for name in frozen)
    assert moved
    assert not any(torch.equal(before[name], after[name]) for name in moved if name.endswith("weight"))


def test_rates_fall_by_the_layer(pictures: Path, tmp_path: Path) -> None:
    recipe = Recipe.from_dict(_values(pictures, tmp_path))
    model = build_model(recipe.arch)
    optimizers = build_optimizer(recipe.optimizer, model, epochs=1, steps_per_epoch=5)
    rates = {name: group["lr"] for group in optimizers.parameter_groups for name in group["names"]}

    def rate(part: str) -> float:
        (found,) = {value for name, value in rates.items() if part in name}
        return found

    assert rate("head.") == rate("neck.") == 0.01
    assert rate("blocks.2.") == 0.5 * rate("neck.") or rate("blocks.2.") == 0.25 * rate(
        "neck."
    )  # the norm is a layer
    assert rate("blocks.1.") == 0.5 * rate("blocks.2.")
    assert not any("blocks.0." in name or "patch_embed" in name for name in rates)


def test_batch_norms_keep_their_statistics_where_all_are_frozen(pictures: Path, tmp_path: Path) -> None:
    values = recipe_values(pictures, tmp_path, epochs=1)
    values["Arch"] |= {"freeze": ["backbone.conv1"], "freeze_norm_statistics": "all"}
    torch.manual_seed(values["Global"]["seed"])
    before = build_model(Recipe.from_dict(values).arch).state_dict()
    train(Recipe.from_dict(values))
    after = load_file(tmp_path / "RecModel/latest/model.safetensors")
    statistics = [name for name in after if name.endswith(("running_mean", "running_var"))]
    assert statistics
    assert all(torch.equal(before[name], after[name]) for name in statistics)
    scales = [name for name in after if name.endswith("bn.weight") and "conv1.bn" not in name]
    assert any(not torch.equal(before[name], after[name]) for name in scales)
    assert torch.equal(before["backbone.conv1.bn.weight"], after["backbone.conv1.bn.weight"])
