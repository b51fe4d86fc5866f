"""Which sets a recipe has its model scored on."""

from __future__ import annotations

from lookalike.core.component import Component, Section
from lookalike.core.errors import UserError
from lookalike.images import Records, read_records, unify_classes
from lookalike.recipe import Recipe

OF_THE_DATASET = ("rotated_classes", "cache", "max_broken_share")
"""What a `dataset` block holds beside the arguments of its format: options of the datasets of training."""


def evaluation_blocks(recipe: Recipe, block: str = "Eval") -> dict[str, Section]:
    """Query and Gallery of `DataLoader.Eval` or `.Validation`, or the one data set that is both, by name.

    Empty where the recipe has no such block. Raises UserError for other blocks than these.
    """
    section = getattr(recipe.data, block, None) if recipe.data is not None else None
    if section is None:
        return {}
    if "dataset" in section:
        return {"Query": section}
    blocks = {key: value for key, value in section.items() if value is not None}
    mode = recipe.global_.eval_mode
    if len(blocks) > 1 and mode != "retrieval":
        raise section.place.error(
            f"Global.eval_mode: {mode} scores one data set and no gallery, but there are {', '.join(blocks)}"
        )
    if len(blocks) > 1 and not {"Query", "Gallery"} <= set(blocks):
        raise section.place.error(
            f"needs Query and Gallery, or one data set that is both; it has {', '.join(blocks)}"
        )
    return blocks


def evaluation_records(recipe: Recipe) -> tuple[Records, Records | None]:
    """The pictures of query and gallery, without torch; None where they are one set.

    Raises UserError where the recipe names none, and for sets whose pictures are not files as they are.
    """
    blocks = evaluation_blocks(recipe)
    if not blocks:
        raise UserError(f"{recipe.name}: there is no DataLoader.Eval, nothing to score on")
    if recipe.global_.eval_mode != "retrieval":
        raise UserError(
            f"{recipe.name}: Global.eval_mode: {recipe.global_.eval_mode} needs a checkpoint: "
            "-o Global.pretrained_model=…"
        )
    if len(blocks) == 1:
        return _records(next(iter(blocks.values()))), None
    query, gallery = unify_classes(_records(blocks["Query"]), _records(blocks["Gallery"]))
    return query, gallery


def _records(block: Section) -> Records:
    component = Component.of(block["dataset"], "dataset")
    if component.arguments.get("rotated_classes"):
        raise component.place_of("rotated_classes").error(
            "a model folder is scored on pictures as they are: score a checkpoint on turned ones"
        )
    arguments = {key: value for key, value in component.arguments.items() if key not in OF_THE_DATASET}
    records = read_records(component.with_arguments(arguments))
    if records.boxes is not None:
        raise component.place.error(
            "a model folder is scored on whole pictures: score a checkpoint on parts of them"
        )
    return records
