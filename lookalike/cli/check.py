"""`lookalike check`."""

from __future__ import annotations

from typing import Annotated

import typer

from lookalike.cli.options import Config, Json, Overrides, answer, application

app = application(
    "Everything that can go wrong, before minute one: recipe, files, labels, copies, memory, time."
)


@app.command()
def check(
    config: Config,
    override: Overrides = [],
    full: Annotated[bool, typer.Option("--full", help="Look at every picture, not at a sample.")] = False,
    json: Json = False,
) -> None:
    from lookalike.doctor import check_recipe

    report = check_recipe(config, override, full)
    answer(report.to_dict(), json, report.text())
    if not report.ok:
        raise typer.Exit(2)
