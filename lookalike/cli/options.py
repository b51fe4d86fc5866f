"""Options that several verbs share, and how an answer is printed."""

from __future__ import annotations

import json
import math
from typing import Annotated, Any

import typer

from lookalike.core import process
from lookalike.core.log import start_console

Config = Annotated[
    str, typer.Option("-c", "--config", help="Recipe: a YAML file, or a shipped one such as product/sop.")
]
Overrides = Annotated[
    list[str],
    typer.Option("-o", "--override", help="Override a key, e.g. -o Global.epochs=5. May be repeated."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
RequireGpu = Annotated[
    bool, typer.Option("--require-gpu", help="Fail where there is no GPU instead of using the CPU.")
]


def application(text: str) -> typer.Typer:
    """The little application of one verb."""
    return typer.Typer(add_completion=False, rich_markup_mode=None, help=text, pretty_exceptions_enable=False)


def recipe_of(config: str, overrides: list[str], require_gpu: bool = False) -> Any:
    """Read the recipe of a verb; from here on messages go to stderr."""
    from lookalike.recipe import load_recipe

    start_console()
    recipe = load_recipe(config, overrides)
    if require_gpu:
        recipe.global_.require_gpu = True
    return recipe


def answer(values: dict[str, Any], as_json: bool, text: str) -> None:
    """Print the answer of a verb, once however many processes there are."""
    if process.is_main():
        print(json.dumps(_plain(values), ensure_ascii=False) if as_json else text)


def percent(metrics: dict[str, float]) -> str:
    """`recall1 88.9 %  mAP 73.3 %`."""
    return "  ".join(f"{name} {100 * value:.1f} %" for name, value in metrics.items())


def _plain(value: Any) -> Any:
    """JSON has no NaN: it becomes null."""
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
