"""`lookalike recipe`."""

from __future__ import annotations

import json as json_module
import re
from pathlib import Path
from typing import Annotated

import typer

from lookalike.cli.options import Json, Overrides, answer, application
from lookalike.core.errors import UserError
from lookalike.core.files import atomic_file

_SCHEMA_LINE = re.compile(r"^(# yaml-language-server: \$schema=)(\S+)", flags=re.MULTILINE)

app = application("The recipes that ship with Lookalike.")


@app.command("list")
def list_(json: Json = False) -> None:
    """List the shipped recipes."""
    from lookalike.recipe import describe_recipe, list_recipes

    told = {name: describe_recipe(name) for name in list_recipes()}
    width = max(map(len, told), default=0)
    text = "\n".join(f"{name:<{width}}  {about}".rstrip() for name, about in told.items())
    answer({"recipes": list(told), "about": told}, json, text)


@app.command()
def show(name: str, override: Overrides = [], json: Json = False) -> None:
    """Print a recipe as it takes effect, overrides and anchors applied."""
    from lookalike.recipe import load_recipe

    recipe = load_recipe(name, override)
    answer(recipe.to_dict(), json, recipe.dump())


@app.command()
def copy(
    name: str, target: Annotated[str, typer.Argument(help="File to write.")], json: Json = False
) -> None:
    """Copy a shipped recipe, comments and all, to a file of your own."""
    from lookalike.recipe import find_recipe

    if Path(target).exists():
        raise UserError(f"{target} exists already")
    source = Path(find_recipe(name)).resolve()
    text = _SCHEMA_LINE.sub(
        lambda found: found[1] + _uri(source.parent, found[2]), source.read_text(encoding="utf-8")
    )
    with atomic_file(target, "w") as file:
        file.write(text)
    answer({"written": target}, json, target)


@app.command()
def schema(
    out: Annotated[str | None, typer.Option("--out", help="File to write (default: stdout).")] = None,
    json: Json = False,
) -> None:
    """Write the JSON schema of recipes for editors."""
    from lookalike.cli.schema import recipe_schema

    text = json_module.dumps(recipe_schema(), indent=1, ensure_ascii=False) + "\n"
    if out is None:
        print(text, end="")  # one JSON object, whether or not --json asks for one
        return
    with atomic_file(out, "w") as file:
        file.write(text)
    answer({"written": out}, json, out)


def _uri(folder: Path, named: str) -> str:
    """Where a schema is that a recipe in `folder` names, so that it can be found from any other folder."""
    return named if ":" in named else (folder / named).resolve().as_uri()
