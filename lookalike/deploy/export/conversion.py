"""What makes a folder smaller or faster and its features a little different: 8 bits, 16 bits, fewer numbers.

All of it is learned from training pictures, prepared as those of the evaluation: nothing is chosen on
pictures that figures are told of.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lookalike.core.errors import UserError
from lookalike.core.progress import track
from lookalike.deploy.export.half import halve_weights
from lookalike.deploy.export.reduced import Reduction, figures_by_size, sizes_to_tell
from lookalike.deploy.model_folder import ModelFolder
from lookalike.deploy.proof.parity import Encode, Pictures, recall_at_1
from lookalike.deploy.proof.samples import training_sample
from lookalike.deploy.quantisation import quantise_graph
from lookalike.recipe import Recipe

Prepare = Callable[[str], NDArray[Any]]

PER_NUMBER = 4
"""Training pictures for each number of a feature, of which the directions of a reduction are learned."""


def to_8_bits(written: ModelFolder, recipe: Recipe, prepare: Prepare, count: int) -> None:
    """Write the graph of a folder anew in 8 bits, whose ranges are those of `count` training pictures."""
    records = training_sample(recipe, count)
    pictures = Pictures.of_records(records, prepare, records.origin)
    report = quantise_graph(written.graph_file, written.graph_file, pictures.batches())
    written.precision, written.quantisation = "int8", asdict(report)
    written.notes["8 bits"] = [f"- {line}" for line in report.lines()]


def to_16_bits(written: ModelFolder, precision: Literal["fp16", "bf16"]) -> None:
    """Write the graph of a folder anew with weights of 16 bits."""
    report = halve_weights(written.graph_file, written.graph_file, precision)
    written.precision = "float16" if precision == "fp16" else "bfloat16"
    written.notes["16 bits"] = [f"- {line}" for line in report.lines()]


def learned_reduction(
    recipe: Recipe, encode: Encode, prepare: Prepare, width: int, normalise: bool
) -> Reduction:
    """All directions of the features (N, `width`) that `encode` gives of training pictures."""
    records = training_sample(recipe, PER_NUMBER * width)
    if len(records) < width:
        raise UserError(
            f"{recipe.name}: --dim learns from the features of training pictures, and needs at least {width} "
            f"of them, one for each number of a feature; there are {len(records)}"
        )
    batches = Pictures.of_records(records, prepare, records.origin).batches()
    found = [encode(batch) for batch in track(batches, "features of training pictures", unit="batches")]
    return Reduction.pca(np.concatenate(found), normalise)


def figures_of_sizes(whole: Reduction, size: int, encode: Encode, pictures: Pictures) -> list[str]:
    """Lines for the model card: what a search finds with features of several sizes."""
    features = np.concatenate([encode(batch) for batch in pictures.batches()])
    records = pictures.records()
    if records is None:
        return []

    def score(reduce: Callable[[NDArray[Any]], NDArray[np.float32]]) -> dict[str, float]:
        recall = recall_at_1(reduce(features), records)
        return {} if recall is None else {"recall@1": recall}

    table = figures_by_size(whole, sizes_to_tell(whole.size, size), score)
    rows = [f"| {each} | {100 * figures['recall@1']:.1f} % |" for each, figures in table.items() if figures]
    told = (
        f"The first {size} of {whole.size} directions in which the features of {whole.learned_on} training "
        f"pictures vary most. On the {len(features)} pictures of the table above:"
    )
    return [told, "", "| numbers | recall@1 |", "|---|---|", *rows]
