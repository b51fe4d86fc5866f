"""`lookalike eval`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from lookalike.cli.options import Json, Overrides, RequireGpu, answer, application, figure, percent, recipe_of
from lookalike.cli.report import (
    Facts,
    facts_of_files,
    facts_of_lists,
    facts_of_recipe,
    model_facts,
    model_marks,
    report_options,
    write_report,
)
from lookalike.core import process
from lookalike.core.errors import UserError
from lookalike.core.log import logger, start_console

app = application(
    "Score a search: the checkpoint of a recipe (-c), a model folder (--model), or vectors (--features)."
)

_DEFAULT = "recall@1,recall@5,mAP,mINP,precision@1"


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
            help=f"Names with commas between (default: the recipe's, or {_DEFAULT}).",
        ),
    ] = None,
    interval: Annotated[
        bool,
        typer.Option("--interval", help="Tell a 95 % interval of each figure, by bootstrap over queries."),
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
    given = {
        "-c": config, "-o": override or None, "--model": model, "--query": query, "--gallery": gallery,
        "--list": list_file, "--gallery-list": gallery_list, "--root": root, "--bits": bits,
        "--normalize": normalize, "--cache": cache, "--batch-size": batch_size,
        "--require-gpu": require_gpu or None,
    }  # fmt: skip
    from lookalike.evaluation import Evaluation, build_metrics, score_features
    from lookalike.evaluation.metrics import check_of_the_reference, metrics_named

    default = metrics_named(_DEFAULT.split(","))
    asked = metrics_named(metrics.replace(" ", "").split(",")) if metrics else None
    tables = bool(csv or per_class_csv)
    options: dict[str, Any] = {"top_k": 1} if tables else {}
    facts: Facts = []
    marks: list[Any] = []
    if report is not None:
        options |= report_options()
    _check_outputs({"--csv": csv, "--per-class-csv": per_class_csv, "--report": report})
    if features is not None:
        _only(given, "--features", "--gallery", "--list", "--gallery-list", "--root", "--bits", "--normalize")
        from lookalike.cli.scored_sets import sets_of_files

        lists = (list_file, gallery_list)
        sets = sets_of_files(features, gallery, lists, root, bits, normalize=normalize is not False)
        facts = facts_of_files(features, gallery)
        found: Any = score_features(*sets, asked or default, **options)
    elif model is not None:
        from lookalike.cli.scored_sets import sets_of_lists, sets_of_recipe

        how: dict[str, Any] = {
            "normalize": normalize is not False, "batch_size": batch_size or 32, "cache": cache,
        }  # fmt: skip
        allowed = ["--model", "--normalize", "--cache", "--batch-size"]
        if report is not None:
            facts = model_facts(model)
            marks = model_marks(model) if normalize is not False else []  # they are cosines
        if query is not None:
            _only(given, "--model and --query", *allowed, "--query", "--gallery", "--root")
            facts += facts_of_lists(query, gallery)
            sets = sets_of_lists(model, query, gallery, root, **how)
        elif config is not None:
            _only(given, "--model and -c", *allowed, "-c", "-o")
            recipe = recipe_of(config, override)
            default = build_metrics(recipe.metrics_eval)
            facts += facts_of_recipe(recipe, with_weights=False)
            _refuse_report_of_re_ranking(recipe, report)
            options["re_ranking"] = recipe.global_.re_ranking
            sets = sets_of_recipe(model, recipe, **how)
        else:
            raise UserError("--model needs pictures: --query LIST, or -c RECIPE for those of DataLoader.Eval")
        found = score_features(*sets, asked or default, **options)
    elif config is not None:
        _only(given, "-c", "-c", "-o", "--require-gpu")
        recipe = recipe_of(config, override, require_gpu)
        wanted = {
            "--metrics": metrics,
            "--interval": interval,
            "--csv": csv,
            "--per-class-csv": per_class_csv,
            "--report": report,
        }
        _check_recipe(recipe, [name for name, value in wanted.items() if value])
        _refuse_report_of_re_ranking(recipe, report)
        if asked and recipe.global_.reference_behaviour:
            check_of_the_reference(asked)
        from lookalike.training import evaluate as run

        if asked:
            options["metrics"] = asked
        facts = facts_of_recipe(recipe, with_weights=True)
        found = run(recipe, **options, **({"keep_features": True} if tables or report else {}))
    else:
        raise UserError(
            "say what to score: -c RECIPE (a checkpoint), --model MODEL_FOLDER, or --features FILE"
        )
    try:
        if isinstance(found, Evaluation) and process.is_main():
            _write_tables(found, csv, per_class_csv)
            if report is not None:
                write_report(report, found, facts, marks)
    finally:  # neither does a full disk lose the figures, nor a closed pipe the files
        _tell(found, interval, json)


def _check_outputs(outputs: Mapping[str, str | None]) -> None:
    """Raise UserError for files that could not be written, before the work is done."""
    taken: dict[Path, str] = {}
    for name, file in outputs.items():
        if file is None:
            continue
        path = Path(file).resolve()  # by whatever way it is named
        if path.is_dir():
            raise UserError(f"{name} {file} is a folder")
        above = next(folder for folder in path.parents if folder.exists())
        if not above.is_dir() or not os.access(above, os.W_OK):
            raise UserError(f"{name} {file} cannot be written: {above} is not a folder to write into")
        if path in taken:
            raise UserError(f"{taken[path]} and {name} name the same file: {file}")
        taken[path] = name


def _only(given: Mapping[str, Any], source: str, *allowed: str) -> None:
    """Refuse options that have no meaning for what is scored."""
    for name, value in given.items():
        if value is not None and name not in allowed:
            raise UserError(f"{name} has no meaning with {source} (which takes {', '.join(allowed)})")


def _check_recipe(recipe: Any, asked: list[str]) -> None:
    """Warn of random weights, and refuse what cannot be told of a recipe's figures, before they are made."""
    if not (recipe.weights or recipe.network.get("Backbone", {}).get("pretrained")):
        logger.warning(
            f"{recipe.name} names no weights: random ones are scored; name yours with "
            f"-o Global.pretrained_model={recipe.global_.output_dir}/RecModel/best_model"
        )
    mode = recipe.global_.eval_mode
    if asked and mode != "retrieval":
        raise UserError(f"{asked[0]} is for a search, and {recipe.name} has Global.eval_mode: {mode}")
    of_queries = [name for name in asked if name != "--metrics"]
    if of_queries and recipe.global_.reference_behaviour:
        raise UserError(
            f"{of_queries[0]}: with Global.reference_behaviour figures are means of blocks of queries, and "
            "no query has a figure of its own"
        )


def _refuse_report_of_re_ranking(recipe: Any, report: str | None) -> None:
    if report is not None and recipe.global_.re_ranking:
        raise UserError(
            "--report shows the similarities of all pairs, which re-ranking has none of: "
            "add -o Global.re_ranking=False"
        )


def _write_tables(found: Any, csv: str | None, per_class_csv: str | None) -> None:
    from lookalike.evaluation.tables import class_table, query_table, write_table

    if csv:
        write_table(csv, query_table(found))
    if per_class_csv:
        write_table(per_class_csv, class_table(found))


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
