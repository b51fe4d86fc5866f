"""What makes a folder smaller or faster and its features a little different: 8 bits, 16 bits, fewer numbers.

All of it is learned from training pictures, prepared as those of the evaluation: nothing is chosen on
pictures that figures are told of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, Literal

import torch
from numpy.typing import NDArray

from lookalike.core.component import Component
from lookalike.core.errors import UserError
from lookalike.core.log import logger
from lookalike.deploy.deployed import Deployed
from lookalike.deploy.export.half import halve_weights
from lookalike.deploy.export.reduced import Reduction, sizes_to_tell
from lookalike.deploy.model_folder import ModelFolder
from lookalike.deploy.proof.parity import recall_at_1
from lookalike.deploy.proof.pictures import Encode, Pictures, encoded
from lookalike.deploy.proof.samples import training_sample
from lookalike.deploy.quantisation import quantise_graph
from lookalike.loss import build_loss
from lookalike.loss.matryoshka import MatryoshkaLoss
from lookalike.recipe import Recipe
from lookalike.recipe.comparing import recipe_of_training

Prepare = Callable[[str], NDArray[Any]]

PER_NUMBER = 4
"""Training pictures for each number of a feature, of which the directions of a reduction are learned."""


def to_8_bits(written: ModelFolder, recipe: Recipe, prepare: Prepare, count: int) -> None:
    """Write the graph of a folder anew in 8 bits, whose ranges are those of `count` training pictures."""
    records = training_sample(recipe, count, "the ranges of 8 bits are learned")
    pictures = Pictures.of_records(records, prepare, records.origin)
    report = quantise_graph(written.graph_file, written.graph_file, pictures.batches())
    written.precision, written.quantisation = "int8", asdict(report)
    written.notes["8 bits"] = [f"- {line}" for line in report.lines()]


def to_16_bits(written: ModelFolder, precision: Literal["fp16", "bf16"]) -> None:
    """Write the graph of a folder anew with weights of 16 bits."""
    report = halve_weights(written.graph_file, written.graph_file, precision)
    written.precision = "float16" if precision == "fp16" else "bfloat16"
    written.notes["16 bits"] = [f"- {line}" for line in report.lines()]


def to_fewer_numbers(
    module: Deployed,
    recipe: Recipe,
    size: int,
    full: int,
    encode: Encode,
    prepare: Prepare,
    pictures: Pictures,
) -> list[str]:
    """Reduce the features of a module from `full` numbers to `size`, in place; gives lines for the card.

    The first numbers are kept where MatryoshkaLoss trained them; else directions are learned (PCA) of the
    features that `encode` gives. Raises UserError for features that cannot be reduced, and for a size that
    they do not have.
    """
    if recipe.global_.feature_binarize is not None or module.key == "logits" or module.softmax:
        raise UserError(
            f"{recipe.name}: --dim reduces features that are compared by inner product, no others"
        )
    if not 1 <= size < full:
        raise UserError(f"--dim {size}: the features have {full} numbers, so it must be 1 … {full - 1}")
    trained = trained_sizes(recipe, module.key)
    if trained:
        _tell_of_trained(size, trained)
        whole = Reduction.prefix(full, module.normalize)
    else:
        whole = learned_reduction(recipe, encode, prepare, full, module.normalize)
    reduction = whole.to(size)
    lines = figures_of_sizes(whole, size, trained, encode, pictures)  # before encode gives fewer numbers
    if trained:
        module.first = size
    else:
        module.reduction = torch.from_numpy(reduction.projection).float().contiguous()
    return lines


def _tell_of_trained(size: int, trained: list[int]) -> None:
    sizes = ", ".join(map(str, trained))
    if size in trained:
        logger.info(f"--dim {size}: the first {size} numbers of a feature, as MatryoshkaLoss trained them")
    else:
        logger.warning(
            f"--dim {size}: the first {size} numbers of a feature, which MatryoshkaLoss did not train: it "
            f"trained {sizes}, and the card says what each finds"
        )


def learned_reduction(
    recipe: Recipe, encode: Encode, prepare: Prepare, width: int, normalise: bool
) -> Reduction:
    """All directions of the features (N, `width`) that `encode` gives of training pictures."""
    records = training_sample(recipe, PER_NUMBER * width, "the directions of --dim are learned")
    pictures = Pictures.of_records(records, prepare, records.origin)
    (features,) = encoded(pictures, [encode], "features of training pictures")
    return Reduction.pca(features, normalise)


def trained_sizes(recipe: Recipe, key: str) -> list[int]:
    """How many of the first numbers of the output `key` a MatryoshkaLoss made a feature of; sorted.

    Loss.Train of the recipe beside the weights says so, else that of `recipe`. Empty where there is no such
    loss, or only of another output.
    """
    trained = recipe_of_training(recipe)
    read_by_head = trained.arch.get("head_feature_from") or "neck"
    sizes: set[int] = set()
    for entry in trained.loss_train:
        if Component.of(entry).name != "MatryoshkaLoss":
            continue
        with torch.device("meta"):  # what it holds beside its arguments is not looked at
            (loss,) = build_loss([entry]).terms
        assert isinstance(loss, MatryoshkaLoss)
        read = read_by_head if loss.feature_from == "logits" else loss.feature_from
        if _same_output(read, trained) == _same_output(key, trained):
            sizes.update(loss.sizes)
    return sorted(sizes)


def _same_output(key: str, recipe: Recipe) -> str:
    """One name for outputs that are the same: features are those of the neck, else of the backbone."""
    return ("neck" if recipe.arch.get("Neck") else "backbone") if key in ("features", "neck") else key


def figures_of_sizes(
    whole: Reduction, size: int, trained: Sequence[int], encode: Encode, pictures: Pictures
) -> list[str]:
    """Lines for the model card: what a search finds with features of several sizes."""
    (features,) = encoded(pictures, [encode])
    records = pictures.records()
    told = [
        f"The first {size} numbers of a feature of {whole.size}, which MatryoshkaLoss trained at "
        f"{', '.join(map(str, trained))}."
        if trained
        else f"The first {size} of {whole.size} directions in which the features of {whole.learned_on} "
        "training pictures vary most."
    ]
    if records is None:
        return told
    rows = []
    for each in filter(whole.tells, sizes_to_tell(whole.size, size, trained)):
        recall = recall_at_1(whole.to(each).apply(features), records)
        rows += [] if recall is None else [f"| {each} | {100 * recall:.1f} % |"]
    if rows:
        of = f"Recall@1 on the {len(features)} pictures of the table above:"
        told += ["", of, "", "| numbers | recall@1 |", "|---|---|", *rows]
    return told
