"""The preprocessing that a recipe scores with, which is the one that is exported."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lookalike.core.errors import UserError
from lookalike.images import Preprocess, dataset_operations
from lookalike.recipe import Recipe


def recipe_preprocess(recipe: Recipe) -> Preprocess:
    """`RecPreProcess.transform_ops` where a recipe has them, else the transforms of its evaluation.

    Raises UserError where it has neither.
    """
    reference = recipe.global_.reference_behaviour
    if recipe.rec_pre_process and recipe.rec_pre_process.get("transform_ops"):
        return Preprocess(recipe.rec_pre_process["transform_ops"], reference_behaviour=reference)
    for block in _evaluation_blocks(recipe):
        if block.get("dataset") and (operations := dataset_operations(block["dataset"])):
            return Preprocess(operations, reference_behaviour=reference)
    raise UserError(
        f"{recipe.name}: neither RecPreProcess nor DataLoader.Eval has transform_ops, "
        "so the preprocessing is unknown"
    )


def _evaluation_blocks(recipe: Recipe) -> Iterator[Any]:
    if recipe.data is None:
        return
    for section in (recipe.data.Eval, recipe.data.Validation):
        if section is None:
            continue
        if "dataset" in section:
            yield section
        for key in ("Query", "Gallery", "Test", "Eval"):
            if section.get(key):
                yield section[key]
