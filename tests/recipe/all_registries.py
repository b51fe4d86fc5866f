"""The registries of all rooms, as the JSON schema takes them."""

from __future__ import annotations

from typing import Any


def all_registries() -> dict[str, Any]:
    from lookalike.data import augmentations, dataset_options, loader_settings, samplers
    from lookalike.evaluation.metrics import metrics
    from lookalike.images.formats import formats
    from lookalike.images.operations import operations
    from lookalike.loss import losses
    from lookalike.model import build_model  # noqa: F401  fills the registries of the model
    from lookalike.model.registries import backbones, heads, necks
    from lookalike.training.optimizers import optimizers
    from lookalike.training.schedules import schedules

    return {
        "backbone": backbones,
        "neck": necks,
        "head": heads,
        "loss": losses,
        "metric": metrics,
        "dataset": formats,
        "dataset_option": dataset_options,
        "operation": [operations, augmentations],
        "sampler": samplers,
        "loader": loader_settings,
        "optimizer": optimizers,
        "schedule": schedules,
    }
