"""`lookalike init`."""

from __future__ import annotations

from typing import Annotated

import typer

from lookalike.cli.options import Json, answer, application
from lookalike.core.log import start_console

app = application("Look at a folder of pictures or a list file and write a recipe for it.")


@app.command()
def init(
    data: Annotated[
        str,
        typer.Argument(
            help="A folder with a folder for each class, a list file 'path label', or a CSV or Parquet table."
        ),
    ],
    out: Annotated[
        str | None,
        typer.Option("-o", "--out", help="Recipe to write; lists go beside it. Default: named after DATA."),
    ] = None,
    backbone: Annotated[
        str | None, typer.Option("--backbone", help="Network, such as timm/mobilenetv2_100 or Conv4.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, help="Passes over the training pictures.")
    ] = None,
    size: Annotated[
        int | None, typer.Option("--size", min=16, help="Side of the pictures that the network sees.")
    ] = None,
    pretrained: Annotated[
        str | None,
        typer.Option("--pretrained", help="Weights to start from: a file, true (fetched), or false."),
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Seed of the division into lists, and of the run.")
    ] = 0,
    root: Annotated[
        str | None,
        typer.Option("--root", help="Folder of the paths in a list or table. Default: where it lies."),
    ] = None,
    path_column: Annotated[
        str, typer.Option("--path-column", help="Column of a table with the paths.")
    ] = "path",
    label_column: Annotated[
        str, typer.Option("--label-column", help="Column of a table with the classes.")
    ] = "label",
    force: Annotated[bool, typer.Option("--force", help="Overwrite the recipe and its lists.")] = False,
    json: Json = False,
) -> None:
    start_console()
    from lookalike.doctor import init_recipe

    weights = {"true": True, "false": False}.get((pretrained or "").lower(), pretrained)
    result = init_recipe(
        data,
        out,
        root=root,
        path_column=path_column,
        label_column=label_column,
        backbone=backbone,
        epochs=epochs,
        size=size,
        pretrained=weights,
        seed=seed,
        force=force,
    )
    answer(result.to_dict(), json, result.text())
