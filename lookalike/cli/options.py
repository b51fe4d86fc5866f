"""Options that several verbs share, and how an answer is printed."""

from __future__ import annotations

import json
import math
from typing import Annotated, Any

import typer

from lookalike.core import process
from lookalike.core.errors import UserError, did_you_mean
from lookalike.core.log import start_console, warn_once

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


class _SubVerbs(typer.core.TyperGroup):
    """The second words of a verb; an unknown one is told as an unknown verb is."""

    def get_command(self, ctx: Any, name: str) -> Any:
        found = super().get_command(ctx, name)
        if found is None:
            known = self.list_commands(ctx)
            raise UserError(
                f"there is no '{ctx.info_name} {name}'{did_you_mean(name, known)} (known: {', '.join(known)})"
            )
        return found


def application(text: str) -> typer.Typer:
    """The little application of one verb."""
    return typer.Typer(
        cls=_SubVerbs, add_completion=False, rich_markup_mode=None, help=text, pretty_exceptions_enable=False
    )


def recipe_of(config: str, overrides: list[str], require_gpu: bool = False) -> Any:
    """Read the recipe of a verb; from here on messages go to stderr."""
    from lookalike.recipe import load_recipe

    start_console()
    recipe = load_recipe(config, overrides)
    if require_gpu:
        recipe.global_.require_gpu = True
    warn_of_unused(recipe, post_process=True)
    return recipe


def warn_of_unused(recipe: Any, post_process: bool = False) -> None:
    """Warn of the sections of a deployment that say something which a verb with a recipe does not do.

    `post_process`: RecPostProcess is one of them; only `embed` reads it.
    """
    if "IndexProcess" in recipe.tree and recipe.index_process is not None:
        warn_once(
            f"{recipe.tree.place_of('IndexProcess')}: has no effect: 'lookalike gallery' and 'lookalike "
            "search' take what it says on their command line"
        )
    told = recipe.rec_post_process
    if told and post_process:
        warn_once(
            f"{recipe.tree.place_of('RecPostProcess')}: has effect on 'lookalike embed' only; a model is "
            "scored and exported with Global.feature_binarize"
        )
    elif told and told.get("main_indicator") is not None:
        indicator = told["main_indicator"]
        if indicator != "Binarize" or not told.get("Binarize"):
            warn_once(
                f"{told.place_of('main_indicator')}: has no effect: Binarize is the only step there is, and "
                "is done where it is given"
            )


def answer(values: dict[str, Any], as_json: bool, text: str) -> None:
    """Print the answer of a verb, once however many processes there are."""
    if process.is_main():
        print(json.dumps(_plain(values), ensure_ascii=False) if as_json else text)


def percent(metrics: dict[str, float]) -> str:
    """`recall1 88.9 %  mAP 73.3 %`."""
    return "  ".join(f"{name} {figure(name, value)}" for name, value in metrics.items())


def figure(name: str, value: float) -> str:
    """A figure as people read it: a share in percent, a rank as it is."""
    return f"{value:.1f}" if name.endswith("_rank") else f"{100 * value:.1f} %"


def _plain(value: Any) -> Any:
    """JSON has no NaN: it becomes null."""
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
