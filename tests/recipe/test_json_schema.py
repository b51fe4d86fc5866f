"""The JSON schema that editors read."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from lookalike.cli.schema import all_registries
from lookalike.core.numbers import Number
from lookalike.core.registry import Registry
from lookalike.recipe import json_schema, list_recipes, load_recipe, shipped_folder


@pytest.fixture(scope="module")
def validator() -> Any:
    schema = json_schema(all_registries())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("name", list_recipes())
def test_shipped_recipes_are_valid(validator: Any, name: str) -> None:
    errors = [
        f"{list(error.absolute_path)}: {error.message:.200}"
        for error in validator.iter_errors(load_recipe(name).to_dict())
    ]
    assert errors == []


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r["Global"].update(epoch=3),
        lambda r: r["Global"].update(epochs="many"),
        lambda r: r["Loss"]["Train"][1]["TripletLossV2"].update(margn=1),
        lambda r: r["Loss"]["Train"].append({"NoLoss": {}}),
        lambda r: r["Arch"]["Head"].update(scal=1),
        lambda r: r["Arch"]["Backbone"].update(name="ResNet51"),
        lambda r: r["Optimizer"].update(momentm=1),
        lambda r: r["Optimizer"]["lr"].update(gama=1),
        lambda r: r["DataLoader"]["Train"]["sampler"].update(sample_per_ids=1),
        lambda r: r["DataLoader"]["Train"]["loader"].update(num_worker=1),
        lambda r: r["DataLoader"]["Train"]["dataset"].update(image_rot="x"),
        lambda r: r["DataLoader"]["Train"]["dataset"]["transform_ops"].append({"ResizeImage": {"sise": 3}}),
        lambda r: r["Metric"]["Eval"].append({"Recalk": {}}),
        lambda r: r.update(Optimiser={}),
    ],
)
def test_mistakes_are_not(validator: Any, change: Callable[[dict[str, Any]], None]) -> None:
    recipe = copy.deepcopy(load_recipe("product/sop").to_dict())
    change(recipe)
    assert not validator.is_valid(recipe)


def test_what_else_is_accepted(validator: Any) -> None:
    recipe = load_recipe("product/sop").to_dict()
    recipe["Global"].update(use_dali=False, use_visualdl=True, checkpoint="x")
    recipe["Arch"]["Neck"] = {"name": "ArcMargin", "embedding_size": 8, "class_num": 3}
    recipe["Arch"]["Head"] = {"name": "BNNeck", "num_features": 8}
    recipe["Infer"] = {"infer_imgs": "x.jpg"}
    recipe["AMP"] = None
    recipe["Arch"]["Backbone"] = {"name": "timm/mobilenetv2_100", "pad_type": "same"}
    recipe["Loss"]["Train"].append({"pml.NTXentLoss": {"temperature": 0.1}})
    recipe["Optimizer"]["lr"] = "1.0/255.0"
    assert [error.message for error in validator.iter_errors(recipe)] == []


def test_kinds_that_are_left_out_take_anything() -> None:
    validator = jsonschema.Draft202012Validator(json_schema({}))
    for name in list_recipes():
        assert validator.is_valid(load_recipe(name).to_dict())


def test_signatures_become_properties() -> None:
    losses: Registry[Any] = Registry("loss")

    @losses.register("MyLoss", "OldLoss", swallows={"views": "found by labels"})
    class MyLoss:
        """One line.

        More.
        """

        def __init__(
            self,
            margin: Number = 0.5,
            names: list[str] | None = None,
            model: Callable[..., Any] | None = None,
        ) -> None:
            pass

    entry = json_schema({"loss": losses})["$defs"]["loss_entry"]["anyOf"][0]
    assert set(entry["properties"]) == {"MyLoss", "OldLoss"}
    component = entry["properties"]["OldLoss"]["anyOf"][0]
    assert component["description"] == "One line."
    assert component["additionalProperties"] is False
    assert set(component["properties"]) == {"margin", "names", "model", "views", "weight"}
    assert component["properties"]["margin"]["default"] == 0.5
    assert component["properties"]["views"]["deprecated"] is True
    with pytest.raises(ValueError, match="no recipe names a"):
        json_schema({"lose": losses})


@pytest.mark.parametrize("name", list_recipes())
def test_recipes_name_the_schema_for_editors(name: str) -> None:
    file = shipped_folder() / f"{name}.yaml"
    first = file.read_text("utf-8").splitlines()[0]
    prefix = "# yaml-language-server: $schema="
    assert first.startswith(prefix)
    assert (file.parent / first.removeprefix(prefix)).resolve() == shipped_folder() / "recipe.schema.json"


def test_the_schema_beside_the_recipes_is_of_today() -> None:
    file: Path = shipped_folder() / "recipe.schema.json"
    written = json.loads(file.read_text("utf-8"))
    assert written == json.loads(json.dumps(json_schema(all_registries()))), (
        f"{file} is old: write it again with `lookalike recipe schema`"
    )
