"""What `lookalike eval` scores: vectors in files, pictures with a model folder, a recipe's checkpoint."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lookalike.cli.options import recipe_of
from lookalike.cli.report import (
    Facts,
    facts_of_files,
    facts_of_lists,
    facts_of_recipe,
    model_facts,
    model_marks,
    report_options,
)
from lookalike.core.errors import UserError
from lookalike.core.log import logger

DEFAULT_METRICS = "recall@1,recall@5,mAP,mINP,precision@1"


@dataclass(frozen=True)
class Asked:
    """What the command line says of the source (None: nothing), of the search and how it is told, and which
    files shall be written, with their options.
    """

    given: Mapping[str, Any]
    of_search: Mapping[str, Any]
    outputs: Mapping[Path, str] = field(default_factory=dict)

    def only(self, source: str, *allowed: str) -> None:
        """Refuse options that have no meaning for what is scored."""
        for name, value in self.given.items():
            if value is not None and name not in allowed:
                raise UserError(f"{name} has no meaning with {source} (which takes {', '.join(allowed)})")

    def spare(self, read: Callable[[], Iterable[str]]) -> None:
        """Refuse outputs that would take the place of what is read; asked only where one is there already."""
        there = {path.stat().st_ino: path for path in self.outputs if path.is_file()}
        if not there:
            return
        for file in read():
            with contextlib.suppress(OSError):  # a missing picture is told where it is scored
                path = there.get(os.stat(file).st_ino)  # noqa: PTH116 (a str already, and there may be many)
                if path is not None and path.samefile(file):
                    raise taking_place(self.outputs[path], str(path))

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


def taking_place(option: str, file: str) -> UserError:
    """The sentence for an output that has the name of an input."""
    return UserError(f"{option} {file} would take the place of what is scored: name another file")


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
class Scored:
    """An evaluation, and what a report says of it beside its figures."""

    found: Any
    facts: Facts
    marks: list[Any] = field(default_factory=list)


def _default_metrics() -> list[Any]:
    from lookalike.evaluation.metrics import metrics_named

    return metrics_named(DEFAULT_METRICS.split(","))


def score_files(asked: Asked, features: str) -> Scored:
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
    return Scored(found, facts_of_files(features, gallery))


def score_model(asked: Asked, model: str) -> Scored:
    """Pictures of lists, or of the evaluation of a recipe, with a model folder."""
    from lookalike.cli.scored_sets import paths_of_lists, paths_of_recipe, sets_of_lists, sets_of_recipe
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
        asked.spare(lambda: paths_of_lists(*files))
        sets = sets_of_lists(model, *files, **how, views=asked.views())
        default = _default_metrics()
    elif given["-c"] is not None:
        asked.only("--model and -c", *allowed, "-c", "-o")
        recipe = recipe_of(given["-c"], given["-o"] or [])
        asked.spare(lambda: paths_of_recipe(recipe))
        default = build_metrics(recipe.metrics_eval)
        options = asked.options(recipe.global_.re_ranking)
        facts = facts_of_recipe(recipe, with_weights=False)
        sets = sets_of_recipe(model, recipe, **how, views=asked.views(recipe))
    else:
        raise UserError("--model needs pictures: --query LIST, or -c RECIPE for those of DataLoader.Eval")
    if not asked.report:
        return Scored(score_features(*sets, metrics or default, **options), facts)
    # thresholds are cosines of features as they are
    as_they_are = asked.normalize and not options["refinement"] and asked.views(recipe).plain
    marks = model_marks(model) if as_they_are else []
    return Scored(score_features(*sets, metrics or default, **options), [*model_facts(model), *facts], marks)


def score_recipe(asked: Asked, config: str, override: list[str], require_gpu: bool) -> Scored:
    """The checkpoint that a recipe names, on the evaluation of the recipe."""
    from lookalike.cli.scored_sets import paths_of_recipe
    from lookalike.evaluation.metrics import check_of_the_reference

    asked.only("-c", "-c", "-o", "--require-gpu", "--flip", "--scales")
    metrics = asked.metrics
    recipe = recipe_of(config, override, require_gpu)
    asked.spare(lambda: paths_of_recipe(recipe))
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
    return Scored(run(recipe, **options), facts_of_recipe(recipe, with_weights=True))


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
