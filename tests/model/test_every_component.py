"""Every backbone, neck and head that is registered builds from a short recipe, which the schema knows."""

from __future__ import annotations

import re
from typing import Any

import jsonschema
import pytest
import torch

from lookalike.cli.schema import all_registries
from lookalike.doctor.embedders import ask
from lookalike.model import RecModel, backbones, build_model, heads, necks
from lookalike.recipe import Recipe, json_schema

FEATURES, CLASSES = 64, 4

NECKS: dict[str, dict[str, Any]] = {
    "FC": {"embedding_size": FEATURES, "class_num": 16},
    "BNNeck": {"num_features": FEATURES},
    "MetaBNNeck": {"num_features": FEATURES},
    "VehicleNeck": {"in_channels": FEATURES, "out_channels": 16},
    "FRFNNeck": {"num_features": FEATURES, "low_dim": 16},
    "GeM": {},
    "FPN": {"in_channels": [32, FEATURES], "out_channels": 8, "embedding_size": 16},
    "Tanh": {},
}
HEADS: dict[str, dict[str, Any]] = {
    "ArcMargin": {},
    "CosMargin": {},
    "CircleMargin": {"margin": 0.25, "scale": 64},
    "AdaMargin": {},
    "FC": {},
    "IdentityHead": {},
}
"""The least that each needs beside its widths. A component that is new here needs its line."""


@pytest.fixture(scope="module")
def schema() -> Any:
    return jsonschema.Draft202012Validator(json_schema(all_registries()))


def recipe_of(schema: Any, **arch: Any) -> Recipe:
    values = {"Arch": {"name": "RecModel", **arch}}
    assert [f"{error.json_path}: {error.message:.200}" for error in schema.iter_errors(values)] == []
    return Recipe.from_dict(values)


DEEPER = re.compile(
    r"AdaFace_IR_(34|50|101|152)|AdaFace_IR_SE_(101|152|200)|ResNet(34|101|152|200)(_vd)?|VGG1[369]|"
    r"CLIP_vit_large_patch14_224|SwinTransformer_(small|base|large)_\w+|"
    r"MobileNetV[123]_\w*x0_(35|5|75)|MobileNetV\w*_x(1_25|1_5|2_0)|PPLCNet_x(0_35|0_5|0_75|1_5|2_0|2_5)"
)
"""The code of others, with more or wider layers: these are seen by `pytest -m slow` only."""


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(entry.name, marks=[pytest.mark.slow] if DEEPER.fullmatch(entry.name) else [])
        for entry in backbones
    ],
)
def test_backbones(schema: Any, name: str) -> None:
    """As `init` asks for it: cut where its features are, on pictures of its own size."""
    asked = ask(name, 32)
    cut = {"BackboneStopLayer": {"name": asked.stop_layer}} if asked.stop_layer else {}
    recipe = recipe_of(schema, Backbone={"name": name, **asked.arguments}, **cut)
    with torch.device("meta"):  # shapes without numbers: some have 300 million weights
        model = build_model(recipe.arch, pretrained=False)
    assert isinstance(model, RecModel)
    shape = (3, 32, 32) if name == "Conv4" else model.facts.image_shape
    assert 32 <= model.embedding_size(shape) <= 4096


CONV4 = {"name": "Conv4", "widths": [8, 16, 32, FEATURES]}
"""Its last map is FEATURES x 2 x 2 for pictures of 32x32."""


def small(schema: Any, **arch: Any) -> dict[str, torch.Tensor]:
    """What a small model gives in training, once gradients have gone through all of it."""
    torch.manual_seed(0)
    model = build_model(recipe_of(schema, **arch).arch, image_shape=(3, 32, 32))
    given: dict[str, torch.Tensor] = model(torch.randn(4, 3, 32, 32), torch.arange(4))
    given.get("logits", given["features"]).square().sum().backward()  # type: ignore[no-untyped-call]
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert all(value.isfinite().all() for value in given.values())
    return given


@pytest.mark.parametrize("name", [entry.name for entry in necks])
def test_necks(schema: Any, name: str) -> None:
    takes_maps = name in ("GeM", "VehicleNeck", "FPN")
    backbone = CONV4 | ({"return_patterns": ["blocks[2]", "blocks[3]"]} if name == "FPN" else {})
    stop = {"name": "blocks[3]" if takes_maps else "flatten"}
    neck = {"name": name, **NECKS[name]}
    given = small(schema, Backbone=backbone, BackboneStopLayer=stop, Neck=neck)
    widths = [each for each in ("class_num", "low_dim", "out_channels") if each in NECKS[name]]
    width = NECKS[name][widths[0]] if widths else FEATURES
    expected = {"VehicleNeck": 4 * width, "FPN": 16}.get(name, width)  # maps of 2x2 are flattened
    assert given["features"].flatten(1).shape == (4, expected)


@pytest.mark.parametrize("name", [entry.name for entry in heads])
def test_heads(schema: Any, name: str) -> None:
    widths = {} if name == "IdentityHead" else {"embedding_size": FEATURES, "class_num": CLASSES}
    head = {"name": name, **widths, **HEADS[name]}
    given = small(schema, Backbone=CONV4, BackboneStopLayer={"name": "flatten"}, Head=head)
    if name == "IdentityHead":
        assert "logits" not in given
    else:
        assert given["logits"].shape == (4, CLASSES)
