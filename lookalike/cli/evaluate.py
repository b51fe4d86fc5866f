"""`lookalike eval`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from lookalike.cli.options import Json, Overrides, RequireGpu, answer, application, figure, percent
from lookalike.cli.report import write_report
from lookalike.cli.scored import (
    DEFAULT_METRICS,
    Asked,
    Scored,
    score_files,
    score_model,
    score_recipe,
    taking_place,
)
from lookalike.core import process
from lookalike.core.errors import UserError
from lookalike.core.log import start_console
from lookalike.images.records import IMAGE_SUFFIXES

app = application(
    "Score a search: the checkpoint of a recipe (-c), a model folder (--model), or vectors (--features)."
)


@app.command()
def evaluate(
    config: Annotated[
        str | None,
        typer.Option(
            "-c",
            "--config",
            help="Recipe: scores Global.pretrained_model on DataLoader.Eval as Global.eval_mode says.",
        ),
    ] = None,
    override: Overrides = [],
    features: Annotated[
        str | None,
        typer.Option("--features", help="Vectors of the queries: .npz, .parquet, or .npy with --list."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", help="Model folder (or checkpoint); its pictures are those of --query or of -c."
        ),
    ] = None,
    query: Annotated[
        str | None,
        typer.Option("--query", help="Pictures for --model: a list (path label [camera]), or class folders."),
    ] = None,
    gallery: Annotated[
        str | None,
        typer.Option(
            "--gallery", help="Vectors or pictures of the gallery (default: the queries themselves)."
        ),
    ] = None,
    list_file: Annotated[
        str | None,
        typer.Option("--list", help="What the rows of --features FILE.npy are: path label [camera]."),
    ] = None,
    gallery_list: Annotated[
        str | None, typer.Option("--gallery-list", help="What the rows of --gallery FILE.npy are.")
    ] = None,
    root: Annotated[
        str | None, typer.Option("--root", help="Folder that the paths of lists start from.")
    ] = None,
    bits: Annotated[
        int | None,
        typer.Option("--bits", min=1, help="The vectors are codes of so many bits, packed or a column each."),
    ] = None,
    normalize: Annotated[
        bool | None,
        typer.Option(
            "--normalize/--no-normalize",
            help="Compare by the cosine (default), or vectors as they are; for --features and --model.",
        ),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            "--metrics",
            help=f"Names with commas between, such as TAR@FAR=0.001 (default: those of the recipe, or "
            f"{DEFAULT_METRICS}).",
        ),
    ] = None,
    flip: Annotated[
        bool | None,
        typer.Option("--flip/--no-flip", help="Mean of each picture and its mirror image, as a feature."),
    ] = None,
    scales: Annotated[
        str | None,
        typer.Option("--scales", help="Mean over sizes of each picture, such as 0.7,1,1.4, as a feature."),
    ] = None,
    re_ranking: Annotated[
        bool,
        typer.Option("--re-ranking", help="Rank by the k-reciprocal distance (Global.re_ranking)."),
    ] = False,
    whiten: Annotated[
        str | None,
        typer.Option("--whiten", help="Whiten by the vectors of training pictures: .npz or .parquet."),
    ] = None,
    database_augmentation: Annotated[
        int,
        typer.Option(
            "--database-augmentation", min=0, help="Move each gallery vector to its so many nearest others."
        ),
    ] = 0,
    query_expansion: Annotated[
        int,
        typer.Option(
            "--query-expansion", min=0, help="Move each query to its so many nearest gallery vectors."
        ),
    ] = 0,
    interval: Annotated[
        bool,
        typer.Option(
            "--interval",
            help="Tell a 95 % interval of each figure, by bootstrap over queries, exact where all agree.",
        ),
    ] = False,
    csv: Annotated[str | None, typer.Option("--csv", help="Write a table with a row for each query.")] = None,
    per_class_csv: Annotated[
        str | None, typer.Option("--per-class-csv", help="Write a table with a row for each class.")
    ] = None,
    report: Annotated[
        str | None,
        typer.Option(
            "--report",
            help="Write an HTML page: figures, curves, similarities, mistakes with pictures, classes.",
        ),
    ] = None,
    cache: Annotated[
        str | None,
        typer.Option("--cache", help="Folder that keeps the vectors of --model for the next time."),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", min=1, help="Pictures at a time for --model (default: 32).")
    ] = None,
    json: Json = False,
    require_gpu: RequireGpu = False,
) -> None:
    start_console()
    outputs = _check_outputs(
        {"--csv": csv, "--per-class-csv": per_class_csv, "--report": report},
        read=[features, query, gallery, list_file, gallery_list, whiten, config],
        kept=[model, features, None if features is None else gallery],
    )
    asked = Asked(
        given={
            "-c": config, "-o": override or None, "--model": model, "--query": query, "--gallery": gallery,
            "--list": list_file, "--gallery-list": gallery_list, "--root": root, "--bits": bits,
            "--normalize": normalize, "--cache": cache, "--batch-size": batch_size,
            "--require-gpu": require_gpu or None, "--flip": flip, "--scales": scales,
        },
        of_search={
            "--metrics": metrics, "--interval": interval, "--csv": csv, "--per-class-csv": per_class_csv,
            "--report": report, "--re-ranking": re_ranking, "--whiten": whiten,
            "--database-augmentation": database_augmentation, "--query-expansion": query_expansion,
        },
        outputs=outputs,
    )  # fmt: skip
    if features is not None:
        scored = score_files(asked, features)
    elif model is not None:
        scored = score_model(asked, model)
    elif config is not None:
        scored = score_recipe(asked, config, override, require_gpu)
    else:
        raise UserError(
            "say what to score: -c RECIPE (a checkpoint), --model MODEL_FOLDER, or --features FILE"
        )
    try:
        if process.is_main():
            _write(scored, csv, per_class_csv, report)
    finally:  # neither does a full disk lose the figures, nor a closed pipe the files
        _tell(scored.found, interval, json)


def _write(scored: Scored, csv: str | None, per_class_csv: str | None, report: str | None) -> None:
    """The files that were asked for; a set that is scored by itself has none."""
    from lookalike.evaluation import Evaluation
    from lookalike.evaluation.tables import class_table, query_table, write_table

    if not isinstance(scored.found, Evaluation):
        return
    if csv:
        write_table(csv, query_table(scored.found))
    if per_class_csv:
        write_table(per_class_csv, class_table(scored.found))
    if report is not None:
        write_report(report, scored.found, scored.facts, scored.marks)


def _check_outputs(
    outputs: Mapping[str, str | None], read: Sequence[str | None], kept: Sequence[str | None]
) -> dict[Path, str]:
    """The files that are written, by whatever way they are named, with their options.

    Raises UserError, before the work is done, for those that could not be written, that are `read`, that lie
    in a folder which is `kept` as it is, and that have the name of a picture.
    """
    inputs = {Path(each).resolve() for each in read if each is not None}
    folders = {Path(each).resolve() for each in kept if each is not None and Path(each).is_dir()}
    taken: dict[Path, str] = {}
    for name, file in outputs.items():
        if file is None:
            continue
        path = Path(file).resolve()
        if path.is_dir():
            raise UserError(f"{name} {file} is a folder")
        if path in inputs:
            raise taking_place(name, file)
        if inside := folders & set(path.parents):
            raise UserError(
                f"{name} {file} lies in {min(inside)}, which is scored and stays as it is: name another file"
            )
        if path.suffix.lower() in IMAGE_SUFFIXES:
            raise UserError(f"{name} {file} has the name of a picture: name another file")
        if path.exists() and not path.is_file():
            raise UserError(f"{name} {file} is no regular file, whose place could be taken")
        above = next(folder for folder in path.parents if folder.exists())
        if not above.is_dir() or not os.access(above, os.W_OK):
            raise UserError(f"{name} {file} cannot be written: {above} is not a folder to write into")
        if path in taken:
            raise UserError(f"{taken[path]} and {name} name the same file: {file}")
        taken[path] = name
    return taken


def _tell(found: Any, interval: bool, json: bool) -> None:
    values = found.to_dict()
    figures = percent(found.metrics)
    result = getattr(found, "result", None)  # on the first process, of a search
    if result is not None and result.per_query is not None:
        from lookalike.evaluation.tables import intervals, macro_means

        values["macro"] = macro_means(found)
        if interval:
            values["intervals"] = intervals(found)
            figures = "\n".join(
                f"{percent({name: found.metrics[name]})}  ({figure(name, low)} … {figure(name, high)})"
                for name, (low, high) in values["intervals"].items()
            )
    losses = "".join(f"  {name} {value:.4f}" for name, value in found.losses.items())
    answer(values, json, f"{figures}{losses}\n{found.counts}, {found.seconds:.1f} s")
