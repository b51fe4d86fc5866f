"""The components of a recipe, built one by one, so that each can tell what is wrong with it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from lookalike.core.component import Component
from lookalike.core.errors import LookalikeError, line_of
from lookalike.data import build_transforms
from lookalike.doctor.findings import Report
from lookalike.doctor.weights import backbones_from_files, exists, tell_address
from lookalike.evaluation import check_metrics
from lookalike.images import Preprocess, dataset_operations
from lookalike.loss import build_loss
from lookalike.model import (
    DistillationModel,
    Model,
    RecModel,
    build_backbone,
    build_head,
    build_model,
    build_neck,
    load_weights,
)
from lookalike.model.weights.sources import address_of
from lookalike.recipe import Recipe
from lookalike.training.optimizers import Optimizers, Part, Planned, build_optimizer, plan_optimizer
from lookalike.training.slimming import slim


@dataclass
class Parts:
    """What could be built; None where it could not."""

    model: Model | None = None
    loss: nn.Module | None = None


def check_parts(recipe: Recipe, report: Report, trained: bool = True) -> Parts:
    """Build model, metrics and, where it is `trained`, losses of a recipe; nothing is fetched and nothing
    computed.
    """
    parts = Parts(_model(recipe, report), _losses(recipe, report) if trained else None)
    with report.catch("metric"):
        check_metrics(recipe.metrics_eval, recipe.global_.eval_mode, recipe.global_.reference_behaviour)
    if recipe.rec_pre_process is not None and recipe.rec_pre_process.get("transform_ops"):
        with report.catch("RecPreProcess"):
            Preprocess(recipe.rec_pre_process["transform_ops"])
    return parts


def _model(recipe: Recipe, report: Report) -> Model | None:
    arch = recipe.arch
    if not arch:
        report.wrong("model", f"{recipe.name}: there is no Arch, so no model")
        return None
    channels, height, width = recipe.global_.image_shape
    reference = recipe.global_.reference_behaviour
    local = backbones_from_files(recipe, report)
    try:
        model = build_model(arch, reference, pretrained=local, image_shape=(channels, height, width))
        sizes = [one.embedding_size((channels, height, width)) for one in _single(model)]
    except LookalikeError as error:
        report.wrong("model", str(error))
        for network in recipe.networks.values():
            _model_piece_by_piece(network, reference, report)
        return None
    except (RuntimeError, ValueError, AssertionError) as error:
        report.wrong(
            "model",
            f"{arch.place}: the model cannot run on pictures of Global.image_shape "
            f"{[channels, height, width]}: "
            f"{line_of(error)}",
        )
        return None
    for (name, network), one, size in zip(recipe.networks.items(), _single(model), sizes, strict=True):
        report.right("model", f"{name}: " * bool(name) + _described(network, one, size))
    weights = recipe.global_.pretrained_model
    address = None
    if isinstance(weights, str):
        with report.catch("weights"):
            address = address_of(weights)
    if address is not None:
        tell_address("Global.pretrained_model", "these weights", address, report)
    elif isinstance(weights, str) and weights and exists(weights):
        with report.catch("weights"):
            loaded = load_weights(model, weights)
            (report.right if not loaded.missing else report.doubtful)(
                "weights", f"Global.pretrained_model: {loaded.table(rows=3)}"
            )
    with report.catch("slim"):
        for sentence in slim(recipe, model, (channels, height, width)):
            report.right("slim", sentence)
    return model


def _single(model: Model) -> list[RecModel]:
    return [model.model(name) for name in model.names] if isinstance(model, DistillationModel) else [model]


def _described(arch: Mapping[str, Any], model: RecModel, size: int) -> str:
    neck = arch.get("Neck")
    parts = [arch["Backbone"], *(neck if isinstance(neck, list) else [neck]), arch.get("Head")]
    names = [Component.of(part).name for part in parts if part]
    count = sum(parameter.numel() for parameter in model.parameters())
    classes = f", {model.class_num} classes" if model.class_num else ""
    return f"{' → '.join(names)}: embedding of {size} numbers{classes}, {count / 1e6:.2f} million parameters"


def _model_piece_by_piece(arch: Mapping[str, Any], reference: bool, report: Report) -> None:
    """A model fails with its first mistake; neck and head may have more."""
    if arch.get("Backbone"):
        with report.catch("model"):
            build_backbone(arch["Backbone"], pretrained=False)
    if arch.get("Neck"):
        with report.catch("model"):
            build_neck(arch["Neck"], reference_behaviour=reference)
    if arch.get("Head"):
        with report.catch("model"):
            build_head(arch["Head"], reference_behaviour=reference)


def _losses(recipe: Recipe, report: Report) -> nn.Module | None:
    reference = recipe.global_.reference_behaviour
    # of the passes of meta-learning the ordinary one needs nothing but a batch
    rehearsed = recipe.losses("Basic") if recipe.global_.train_mode == "metabin" else recipe.loss_train
    if not rehearsed:
        report.wrong(
            "loss", f"{recipe.name}: there is no loss to train with: list at least one under Loss.Train"
        )
        return None
    before = len(report.problems)
    for entries in (rehearsed, recipe.loss_eval):
        for entry in entries:
            with report.catch("loss"):
                build_loss([entry], reference_behaviour=reference)
    if len(report.problems) > before:
        return None
    names = [Component.of(entry).name for entry in rehearsed]
    report.right("loss", " + ".join(names))
    return build_loss(rehearsed, reference_behaviour=reference)


def check_transforms(block: Any, path: str, reference: bool, report: Report) -> None:
    """Each operation of a block whose chain could not be built, by itself."""
    dataset = block.get("dataset") if isinstance(block, Mapping) else None
    operations = dataset_operations(dataset) if isinstance(dataset, Mapping) else []
    for index, operation in enumerate(operations):
        text = ""
        try:
            build_transforms([operation], reference_behaviour=reference, path=f"{path}[{index}]")
        except LookalikeError as error:
            text = str(error)
        if (
            text and "stands after" not in text and "channel-first" not in text
        ):  # true of the whole chain only
            report.wrong("transforms", text)


def check_optimizer(recipe: Recipe, parts: Parts, steps: int | None, report: Report) -> Optimizers | None:
    """The optimizer with its schedule, for `steps` updates an epoch; where that is not known, for 1.

    None where it cannot be built. Where there is no model, nothing is said of its parameters.
    """
    settings = recipe.global_
    with report.catch("optimizer"):
        if parts.model is None:
            for planned in plan_optimizer(
                recipe.optimizer, settings.epochs, steps or 1, settings.reference_behaviour
            ):
                _schedule(planned, settings.epochs, steps, report)
            return None
        made = build_optimizer(
            recipe.optimizer,
            parts.model,
            parts.loss,
            epochs=settings.epochs,
            steps_per_epoch=steps or 1,
            reference_behaviour=settings.reference_behaviour,
        )
        for part in made.parts:
            _schedule(part, settings.epochs, steps, report)
        return made
    return None


def _schedule(part: Part | Planned, epochs: int, steps: int | None, report: Report) -> None:
    schedule = part.schedule
    last = epochs * (1 if schedule.by_epoch else (steps or 1)) - 1
    warm = schedule.warmup_epoch
    rates = [schedule.at(step) for step in (0, round(schedule.warmup_steps), last)]
    if not all(math.isfinite(rate) for rate in rates):
        report.wrong("optimizer", f"the learning rate becomes {max(rates)}: look at Optimizer.lr")
        return
    rise = f", warm-up of {warm:g} epoch{'s' if warm != 1 else ''} from {rates[0]:.2g}" if warm else ""
    report.right(
        "optimizer",
        f"{part.name}: {type(schedule).__name__} of {rates[1]:.2g} to {rates[2]:.2g} at the end{rise}; "
        f"{epochs} epoch{'s' if epochs != 1 else ''}" + (f" of {steps} updates" if steps else ""),
    )
    if warm and warm >= epochs:
        report.doubtful(
            "optimizer",
            f"Optimizer.lr: the warm-up is as long as the run ({warm:g} of {epochs}), so the learning rate "
            "only rises; set warmup_epoch lower",
        )
    if max(rates) == 0:
        report.doubtful("optimizer", "Optimizer.lr: the learning rate is 0, so nothing will be learned")
