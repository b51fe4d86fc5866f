"""recipe, from the command line, and the JSON schema of recipes."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import unquote

import jsonschema
import pytest
import yaml

from lookalike.cli.schema import all_registries, recipe_schema
from lookalike.core.registry import Registry
from lookalike.recipe import list_recipes, load_recipe, shipped_folder
from lookalike.recipe.schema_export import KINDS
from tests.cli.conftest import Command


def test_list(command: Command) -> None:
    names = command("recipe", "list", "--json").json()["recipes"]
    assert names == list_recipes()
    assert {"product/sop", "quickstart/brand_marks"} <= set(names)
    lines = command("recipe", "list").out.splitlines()
    assert [line.split()[0] for line in lines] == names
    assert lines[names.index("product/sop")].split(maxsplit=1)[1] == "Stanford Online Products"


def test_show_prints_what_takes_effect(command: Command) -> None:
    told = command("recipe", "show", "product/sop", "-o", "Global.epochs=7")
    assert yaml.safe_load(told.out) == load_recipe("product/sop", ["Global.epochs=7"]).to_dict()
    assert command("recipe", "show", "product/sop", "--json").json()["Arch"]["name"] == "RecModel"


def test_copy_keeps_the_comments_and_overwrites_nothing(command: Command, tmp_path: Path) -> None:
    target = tmp_path / "mine" / "my.yaml"
    assert command("recipe", "copy", "product/sop", target).out.strip() == str(target)
    first, rest = target.read_text("utf-8").split("\n", 1)
    there, same = (shipped_folder() / "product" / "sop.yaml").read_text("utf-8").split("\n", 1)
    assert rest == same
    assert there == "# yaml-language-server: $schema=../recipe.schema.json"
    schema = first.removeprefix("# yaml-language-server: $schema=file://")
    assert Path(unquote(schema)) == (shipped_folder() / "recipe.schema.json").resolve()
    assert "exists already" in command("recipe", "copy", "product/sop", target).sentence()
    own = tmp_path / "own.yaml"
    assert command("recipe", "copy", target, own, "--json").json() == {"written": str(own)}
    assert own.read_text("utf-8") == target.read_text("utf-8")


def test_an_unknown_recipe_is_one_sentence(command: Command) -> None:
    assert "product/sop" in command("recipe", "show", "product/sob").sentence()


def test_the_schema_is_written_and_is_the_one_that_ships(command: Command, tmp_path: Path) -> None:
    out = tmp_path / "recipe.schema.json"
    assert command("recipe", "schema", "--out", out).out.strip() == str(out)
    assert command("recipe", "schema").out == out.read_text("utf-8")
    assert command("recipe", "schema", "--json").json() == json.loads(out.read_text("utf-8"))
    assert command("recipe", "schema", "--out", out, "--json").json() == {"written": str(out)}
    assert out.read_text("utf-8") == (shipped_folder() / "recipe.schema.json").read_text("utf-8"), (
        "recipes/recipe.schema.json is old: lookalike recipe schema --out recipes/recipe.schema.json"
    )


def test_every_kind_of_component_is_in_the_schema() -> None:
    registries = all_registries()
    assert set(registries) == set(KINDS)
    text = json.dumps(recipe_schema())
    for several in registries.values():
        for registry in [several] if isinstance(several, Registry) else several:
            for entry in registry:
                if registry.kind not in ("loader", "dataset option"):
                    assert f'"{entry.name}"' in text, entry.name


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = json.loads((shipped_folder() / "recipe.schema.json").read_text("utf-8"))
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("name", list_recipes())
def test_shipped_recipes_are_valid(validator: jsonschema.Draft202012Validator, name: str) -> None:
    values = yaml.safe_load((shipped_folder() / f"{name}.yaml").read_text("utf-8"))
    assert [f"{list(e.absolute_path)}: {e.message:.200}" for e in validator.iter_errors(values)] == []
