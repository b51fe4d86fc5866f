"""What a recipe's model is scored on: the loaders of its evaluation, and what their labels mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import nn

from lookalike.core import process
from lookalike.core.errors import UserError
from lookalike.core.log import warn_once
from lookalike.data import Loader, build_loader
from lookalike.data.dataset import read_dataset_records
from lookalike.evaluation import training_labels
from lookalike.evaluation.recipe_sets import evaluation_blocks
from lookalike.images import Records, check_labels, unify_classes
from lookalike.loss import build_loss
from lookalike.recipe import Recipe, missing_paths
from lookalike.training.assembly import seed_of


@dataclass
class Benchmark:
    """A query and a gallery to score on; without a gallery the query is searched in itself, or is the one set
    of a classification or verification.

    `loss` is that of `Loss.Eval`, where all classes of the query were trained on; `loss_labels` has the label
    in training of each of its labels. `class_of` has the class of each label of a classification, None where
    they are the same numbers.
    """

    name: str
    query: Loader
    gallery: Loader | None
    loss: nn.Module | None = None
    loss_labels: dict[int, int] = field(default_factory=dict)
    class_of: Mapping[int, int] | None = None


def build_benchmark(recipe: Recipe, block: str = "Eval", training: Records | None = None) -> Benchmark | None:
    """The loaders of `DataLoader.Eval` or `DataLoader.Validation`, None where the recipe has no such block.

    One data set (a block with `dataset`, or one entry such as Query) means that the query is also the
    gallery; classification and verification (`Global.eval_mode`) take one data set only. `training` are the
    records of training, whose class names say which class a named label is.
    """
    sets = evaluation_blocks(recipe, block)
    if not sets:
        return None
    mode = recipe.global_.eval_mode

    def loader(part: Any) -> Loader:
        return build_loader(
            part,
            seed=seed_of(recipe),
            rank=process.rank(),
            world_size=process.world_size(),
            epochs=1,
            training=False,
            reference_behaviour=recipe.global_.reference_behaviour,
        )

    if len(sets) == 1:
        benchmark = Benchmark(block, loader(next(iter(sets.values()))), None)
    else:
        query, gallery = loader(sets["Query"]), loader(sets["Gallery"])
        # sets whose classes have names were numbered each on its own
        query.dataset.records, gallery.dataset.records = unify_classes(query.records, gallery.records)
        benchmark = Benchmark(block, query, gallery)
    check_kind(benchmark.query.records, mode)
    if mode == "classification":
        benchmark.class_of = class_numbers(recipe, benchmark.query.records, training)
    elif training is not None and has_evaluation_loss(recipe):
        classes = recipe.network["Head"].get("class_num")
        labels = training_labels(training, benchmark.query.records, classes)
        if labels is None:
            warn_once(
                f"Loss.Eval is not applicable: the classes of DataLoader.{block} are not those of training, "
                "or are bare numbers of another list, which do not say so"
            )
            return benchmark
        benchmark.loss_labels = labels
    if has_evaluation_loss(recipe) and (benchmark.loss_labels or mode == "classification"):
        loss = build_loss(recipe.loss_eval, reference_behaviour=recipe.global_.reference_behaviour)
        benchmark.loss = loss.eval()  # a loss that remembers batches does not remember those of an evaluation
    return benchmark


def check_kind(records: Records, mode: str) -> None:
    """Raise UserError for pairs where labelled images are scored, and the other way round."""
    if mode == "adaface" and records.pairs is None:
        raise UserError(
            f"Global.eval_mode: adaface judges pairs of images, and {records.origin} is a set of labelled "
            "ones: evaluate on a FiveValidationDataset"
        )
    if mode != "adaface" and records.pairs is not None:
        raise UserError(f"{records.origin} holds pairs of images, which needs Global.eval_mode: adaface")


def class_numbers(recipe: Recipe, evaluation: Records, training: Records | None) -> Mapping[int, int] | None:
    """The class in training of each label of a classification; None where they are the same numbers.

    Sets whose classes have names (folders, `relabel: True`) were numbered each on its own. Raises UserError
    for a class that was not trained on.
    """
    classes = (recipe.network.get("Head") or {}).get("class_num")
    if evaluation.class_names is None and (training is None or training.class_names is None):
        if classes is not None:
            check_labels(evaluation, int(classes))
        return None
    if training is None:
        warn_once(
            f"the classes of {evaluation.origin} have names, and without the training set their numbers "
            "cannot be told: they are taken as the set itself numbers them"
        )
        return None
    found = training_labels(training, evaluation, None)
    if found is None:
        known = {training.name_of(label) for label in np.unique(training.labels).tolist()}
        for index, label in enumerate(evaluation.labels.tolist()):
            if evaluation.name_of(label) not in known:
                raise UserError(
                    f"{evaluation.where(index)}: class '{evaluation.name_of(label)}' is none of the "
                    f"{len(known)} classes of training, so it cannot be classified"
                )
    return found


def has_evaluation_loss(recipe: Recipe) -> bool:
    """Whether the recipe asks for losses of an evaluation, and has the head that they need."""
    return bool(recipe.loss_eval and recipe.network.get("Head"))


def training_records(recipe: Recipe) -> Records | None:
    """What the recipe trains on, read for the sake of its class names alone.

    Who scores a model need not have its training set: that is said once, and None returned.
    """
    classifies = recipe.global_.eval_mode == "classification"
    if not (has_evaluation_loss(recipe) or classifies):
        return None
    train = recipe.data.Train if recipe.data is not None else None
    missing = [value for _, value in missing_paths(recipe, ("DataLoader.Train",))]
    if train is None or train.get("dataset") is None:
        reason = "there is no DataLoader.Train.dataset"
    elif missing:
        reason = f"{missing[0]} of DataLoader.Train is not there"
    else:
        try:
            return read_dataset_records(train["dataset"])
        except UserError as error:
            reason = str(error)
    if not classifies:  # which tells by itself, where it matters
        warn_once(
            "Loss.Eval is left out, since whether its classes are those of training cannot be decided: "
            f"{reason}"
        )
    return None
