"""`lookalike train`."""

from __future__ import annotations

import shlex
from dataclasses import asdict

import typer

from lookalike.cli.options import Config, Json, Overrides, RequireGpu, answer, application, percent, recipe_of

app = application(
    "Train the model of a recipe; writes output/RecModel/{latest,best_model,epoch_N} and train.log."
)


@app.command()
def train(
    config: Config, override: Overrides = [], json: Json = False, require_gpu: RequireGpu = False
) -> None:
    recipe = recipe_of(config, override, require_gpu)
    from lookalike.training import train as run

    result = run(recipe)
    told = percent(result.metrics) if result.metrics else "not scored"
    words = ["lookalike", "export", "-c", config]
    for each in [*override, f"Global.pretrained_model={result.folder}/best_model"]:
        words += ["-o", each]
    export = shlex.join(words)
    next_step = "" if result.interrupted else f"\nnext: {export}"
    answer(asdict(result), json, f"{told}\n{result.folder}{next_step}")
    if result.interrupted:
        raise typer.Exit(130)
