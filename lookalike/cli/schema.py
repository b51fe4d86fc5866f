"""The registries of all rooms in one place, and the JSON schema that tells editors what a recipe may name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lookalike.core.registry import Registry


def all_registries() -> dict[str, Registry[Any] | Iterable[Registry[Any]]]:
    """The registries that hold each kind of component a recipe names: `recipe.schema_export.KINDS`."""
    from lookalike.data import (
        augmentations,
        batch_operations,
        dataset_options,
        loader_settings,
        samplers,
    )
    from lookalike.evaluation.metrics import metrics
    from lookalike.images.formats import formats
    from lookalike.images.operations import operations
    from lookalike.loss import losses
    from lookalike.model import backbones, heads, necks
    from lookalike.training.optimizers import optimizers
    from lookalike.training.schedules import schedules

    return {
        "backbone": backbones,
        "neck": [necks, heads],  # each may stand in the place of the other
        "head": [heads, necks],
        "loss": losses,
        "metric": metrics,
        "dataset": formats,
        "dataset_option": dataset_options,
        "operation": [operations, augmentations],
        "batch_operation": batch_operations,
        "sampler": samplers,
        "loader": loader_settings,
        "optimizer": optimizers,
        "schedule": schedules,
    }


def recipe_schema() -> dict[str, Any]:
    """The JSON schema of recipes: their form, and the arguments of every registered component."""
    from lookalike.recipe import json_schema

    return json_schema(all_registries())
