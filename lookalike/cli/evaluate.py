"""`lookalike eval`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
            help=f"Names with commas between (default: the recipe's, or {_DEFAULT}); also TAR@FAR=0.001.",
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
    asked = _Asked(
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
    )  # fmt: skip
    inputs = [features, query, gallery, list_file, gallery_list, whiten, config]
    _check_outputs({"--csv": csv, "--per-class-csv": per_class_csv, "--report": report}, inputs)
    if features is not None:
        scored = _score_files(asked, features)
    elif model is not None:
        scored = _score_model(asked, model)
    elif config is not None:
        scored = _score_recipe(asked, config, override, require_gpu)
    else:
        raise UserError(
            "say what to score: -c RECIPE (a checkpoint), --model MODEL_FOLDER, or --features FILE"
        )
    try:
        if process.is_main():
            _write(scored, csv, per_class_csv, report)
    finally:  # neither does a full disk lose the figures, nor a closed pipe the files
        _tell(scored.found, interval, json)


@dataclass(frozen=True)
class _Asked:
    """What the command line says of the source (None: nothing), and of the search and how it is told."""

    given: Mapping[str, Any]
    of_search: Mapping[str, Any]

    def only(self, source: str, *allowed: str) -> None:
        """Refuse options that have no meaning for what is scored."""
        for name, value in self.given.items():
            if value is not None and name not in allowed:
                raise UserError(f"{name} has no meaning with {source} (which takes {', '.join(allowed)})")

    @property
    def normalize(self) -> bool:
        return self.given["--normalize"] is not False

    def views(self, recipe: Any = None) -> Any:
        """The views of each picture that are encoded: those of the recipe, where nothing is said of them."""
        from lookalike.recipe import Views

        said = Views() if recipe is None else recipe.global_.views
        flip, scales = self.given["--flip"], self.given["--scales"]
        return Views(
            said.flip if flip is None else flip,
            said.scales if scales is None else _numbers("--scales", scales),
        )

    @property
    def metrics(self) -> list[Any] | None:
        from lookalike.evaluation.metrics import metrics_named

        named = self.of_search["--metrics"]
        return None if named is None else metrics_named(named.replace(" ", "").split(","))

    @property
    def tables(self) -> bool:
        return bool(self.of_search["--csv"] or self.of_search["--per-class-csv"])

    @property
    def report(self) -> bool:
        return self.of_search["--report"] is not None

    def options(self, re_ranking: bool = False) -> dict[str, Any]:
        """What `score_features` is to do and to keep; `re_ranking` is what the recipe says of it."""
        from lookalike.evaluation.refinement import Refinement

        re_ranking = re_ranking or self.of_search["--re-ranking"]
        if self.report and re_ranking:
            raise UserError(
                "--report shows the similarities of all pairs, which re-ranking has none of: score without it"
            )
        steps = ("--whiten", "--database-augmentation", "--query-expansion")
        whiten, augmentation, expansion = (self.of_search[name] for name in steps)
        if (whiten or augmentation or expansion) and not self.normalize:
            raise UserError("whitening and expansion need vectors of length 1: leave --no-normalize away")
        refinement = Refinement(None if whiten is None else _whitening(whiten), augmentation, expansion)
        options: dict[str, Any] = {"re_ranking": re_ranking, "refinement": refinement}
        if self.report:
            return {**options, **report_options()}
        return {**options, "top_k": 1} if self.tables else options


def _numbers(name: str, text: str) -> list[float]:
    try:
        return [float(each) for each in text.split(",")]
    except ValueError:
        raise UserError(
            f"{name} takes numbers with commas between, such as 0.7,1,1.4; got '{text}'"
        ) from None


def _whitening(file: str) -> Any:
    from lookalike.evaluation.feature_files import scaled
    from lookalike.images.feature_files import read_features
    from lookalike.retrieval import Whitening

    table = read_features(file)
    if table.bits is not None:
        raise UserError(f"--whiten {file} holds binary codes, of which no whitening can be learned")
    try:
        return Whitening.learn(scaled(table.vectors))
    except ValueError as error:
        raise UserError(f"--whiten {file}: {error}") from error


@dataclass(frozen=True)
class _Scored:
    """An evaluation, and what a report says of it beside its figures."""

    found: Any
    facts: Facts
    marks: list[Any] = field(default_factory=list)


def _default_metrics() -> list[Any]:
    from lookalike.evaluation.metrics import metrics_named

    return metrics_named(_DEFAULT.split(","))


def _score_files(asked: _Asked, features: str) -> _Scored:
    """Vectors that are there already, whatever made them."""
    from lookalike.cli.scored_sets import sets_of_files
    from lookalike.evaluation import score_features

    asked.only("--features", "--gallery", "--list", "--gallery-list", "--root", "--bits", "--normalize")
    given, metrics, options = asked.given, asked.metrics, asked.options()
    gallery, lists = given["--gallery"], (given["--list"], given["--gallery-list"])
    sets = sets_of_files(
        features, gallery, lists, given["--root"], given["--bits"], normalize=asked.normalize
    )
    found = score_features(*sets, metrics or _default_metrics(), **options)
    return _Scored(found, facts_of_files(features, gallery))


def _score_model(asked: _Asked, model: str) -> _Scored:
    """Pictures of lists, or of the evaluation of a recipe, with a model folder."""
    from lookalike.cli.scored_sets import sets_of_lists, sets_of_recipe
    from lookalike.evaluation import build_metrics, score_features

    given, metrics, recipe = asked.given, asked.metrics, None
    how: dict[str, Any] = {
        "normalize": asked.normalize, "batch_size": given["--batch-size"] or 32, "cache": given["--cache"],
    }  # fmt: skip
    allowed = ["--model", "--normalize", "--cache", "--batch-size", "--flip", "--scales"]
    if given["--query"] is not None:
        asked.only("--model and --query", *allowed, "--query", "--gallery", "--root")
        options = asked.options()
        facts = facts_of_lists(given["--query"], given["--gallery"])
        files = (given["--query"], given["--gallery"], given["--root"])
        sets = sets_of_lists(model, *files, **how, views=asked.views())
        default = _default_metrics()
    elif given["-c"] is not None:
        asked.only("--model and -c", *allowed, "-c", "-o")
        recipe = recipe_of(given["-c"], given["-o"] or [])
        default = build_metrics(recipe.metrics_eval)
        options = asked.options(recipe.global_.re_ranking)
        facts = facts_of_recipe(recipe, with_weights=False)
        sets = sets_of_recipe(model, recipe, **how, views=asked.views(recipe))
    else:
        raise UserError("--model needs pictures: --query LIST, or -c RECIPE for those of DataLoader.Eval")
    if not asked.report:
        return _Scored(score_features(*sets, metrics or default, **options), facts)
    # thresholds are cosines of features as they are
    as_they_are = asked.normalize and not options["refinement"] and asked.views(recipe).plain
    marks = model_marks(model) if as_they_are else []
    return _Scored(score_features(*sets, metrics or default, **options), [*model_facts(model), *facts], marks)


def _score_recipe(asked: _Asked, config: str, override: list[str], require_gpu: bool) -> _Scored:
    """The checkpoint that a recipe names, on the evaluation of the recipe."""
    from lookalike.evaluation.metrics import check_of_the_reference

    asked.only("-c", "-c", "-o", "--require-gpu", "--flip", "--scales")
    metrics = asked.metrics
    recipe = recipe_of(config, override, require_gpu)
    views = asked.views(recipe)
    recipe.global_.test_time_flip, recipe.global_.test_time_scales = views.flip, list(views.scales)
    _check_recipe(recipe, [name for name, value in asked.of_search.items() if value])
    options = asked.options(recipe.global_.re_ranking)
    if metrics and recipe.global_.reference_behaviour:
        check_of_the_reference(metrics)
    if not recipe.global_.feature_normalize and options["refinement"]:
        raise UserError("whitening and expansion need vectors of length 1: Global.feature_normalize is false")
    if recipe.global_.feature_binarize and options["refinement"]:
        raise UserError("binary codes (Global.feature_binarize) can be neither whitened nor expanded")
    from lookalike.training import evaluate as run

    if recipe.global_.eval_mode != "retrieval":
        options = {}
    elif metrics:
        options["metrics"] = metrics
    if asked.tables or asked.report:
        options["keep_features"] = True
    return _Scored(run(recipe, **options), facts_of_recipe(recipe, with_weights=True))


def _write(scored: _Scored, csv: str | None, per_class_csv: str | None, report: str | None) -> None:
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


def _check_outputs(outputs: Mapping[str, str | None], inputs: Sequence[str | None]) -> None:
    """Raise UserError for files that could not be written, or are read, before the work is done."""
    read = {Path(each).resolve() for each in inputs if each is not None}
    taken: dict[Path, str] = {}
    for name, file in outputs.items():
        if file is None:
            continue
        path = Path(file).resolve()  # by whatever way it is named
        if path.is_dir():
            raise UserError(f"{name} {file} is a folder")
        if path in read:
            raise UserError(f"{name} {file} would take the place of what is scored: name another file")
        if path.exists() and not path.is_file():
            raise UserError(f"{name} {file} is no regular file, whose place could be taken")
        above = next(folder for folder in path.parents if folder.exists())
        if not above.is_dir() or not os.access(above, os.W_OK):
            raise UserError(f"{name} {file} cannot be written: {above} is not a folder to write into")
        if path in taken:
            raise UserError(f"{taken[path]} and {name} name the same file: {file}")
        taken[path] = name


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
    of_queries = [name for name in asked if name not in ("--metrics", "--re-ranking")]
    if of_queries and recipe.global_.reference_behaviour:
        raise UserError(
            f"{of_queries[0]}: with Global.reference_behaviour figures are means of blocks of queries, and "
            "no query has a figure of its own"
        )


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
