"""From a recipe to the objects of a run: device, model, losses, loaders. Nothing here trains."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from lookalike.core import process
from lookalike.core.errors import UserError
from lookalike.core.log import logger
from lookalike.data import Loader, build_loader
from lookalike.images import check_labels
from lookalike.model import DistillationModel, Model, build_model, load_weights
from lookalike.recipe import Recipe
from lookalike.training.distributed import choose_device
from lookalike.training.layout import memory_layout


def prepare_process(recipe: Recipe) -> torch.device:
    """Choose the device and seed every random generator; the seed of a recipe without one is 0.

    All processes build the same weights; from then on each draws its own numbers (dropout), by seed + rank.
    """
    settings = recipe.global_
    device = choose_device(settings.device, bool(settings.require_gpu))
    if settings.num_threads:
        torch.set_num_threads(int(settings.num_threads))
    elif process.world_size() > 1 and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // process.world_size()))
    seed_everything(seed_of(recipe))
    if settings.deterministic:
        # cuBLAS reads it when it starts; without it, its products may differ in the last bit
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = False
    elif device.type == "cuda":
        torch.backends.cudnn.benchmark = True
    return device


def seed_of(recipe: Recipe) -> int:
    """`Global.seed`, 0 where a recipe has none."""
    return int(recipe.global_.seed or 0)


def seed_everything(seed: int) -> None:
    """Seed torch, NumPy and Python."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


def assemble_model(
    recipe: Recipe,
    device: torch.device,
    weights: str | None,
    required: tuple[str, ...] = (),
    image_shape: tuple[int, int, int] | None = None,
) -> Model:
    """The model of a recipe on its device, with the weights that a path or URL names, if any.

    Weights of the whole model make the backbone's own pretrained ones needless, so those are not fetched
    then. `required` names parts that must be whole, in a DistillationModel those of the student.
    """
    model = build_model(
        recipe.arch, recipe.global_.reference_behaviour, pretrained=not weights, image_shape=image_shape
    )
    if weights:
        if recipe.is_distillation:
            required = tuple(f"{recipe.student}.{part}" for part in required)
        load_weights(model, str(weights), required)
    return to_device(model, device)


SMALL_WORK = 0.6e9
"""Operations of a forward pass of a batch below which one thread is as fast as several, and does not suffer
when another program wants a core: PPLCNet_x0_25 at 64 x 64, batch 64, trains at 1270 images a second with one
thread, and with two at 1140 on an idle machine and at 460 on a busy one."""


@contextlib.contextmanager
def suitable_threads(
    recipe: Recipe, model: Model, batch: tuple[int, ...], device: torch.device
) -> Iterator[None]:
    """One thread for networks so small that several only wait for each other; `Global.num_threads` decides
    instead.

    The rule counts operations for the shape of a batch (N, C, H, W), so that a resumed run decides the same.
    """
    before = torch.get_num_threads()
    free = device.type == "cpu" and not recipe.global_.num_threads and "OMP_NUM_THREADS" not in os.environ
    if free and before > 1:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            training = model.training
            run = model if isinstance(model, DistillationModel) else model.embed
            model.eval()
            run(torch.zeros(1, *batch[1:]))
            model.train(training)
        if counter.get_total_flops() * batch[0] < SMALL_WORK:
            torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def check_output_key(recipe: Recipe, model: Model) -> None:
    """Raise UserError where `Arch.infer_output_key` names what the model does not give: export would fail."""
    key = recipe.network.get("infer_output_key")
    if key is not None and key not in model.output_names():
        known = ", ".join(model.output_names())
        raise UserError(f"{recipe.name}: Arch.infer_output_key is '{key}'; this model has {known}")


def to_device(model: Model, device: torch.device) -> Model:
    """Move a model, and lay its weights out as its maps will be (`memory_layout`)."""
    model.to(device)
    model.to(memory_format=memory_layout(model, device))
    return model


def training_loader(recipe: Recipe) -> Loader:
    """The loader of `DataLoader.Train`.

    Raises UserError where the recipe has none or its labels do not fit the head.
    """
    if recipe.data is None or recipe.data.Train is None:
        raise UserError(f"{recipe.name}: there is no DataLoader.Train, nothing to train on")
    loader = _training_loader(recipe, recipe.data.Train)
    for network in recipe.networks.values():
        head = network.get("Head") or {}
        if head.get("class_num") is not None:
            check_labels(loader.records, int(head["class_num"]))
    records = loader.records
    logger.info(
        f"train: {len(records)} images of {records.num_classes} classes, {len(loader)} batches an epoch"
    )
    return loader


def second_loader(recipe: Recipe, block: str) -> Loader:
    """The loader of another block to train on, such as `DataLoader.Metalearning`.

    Its own seed keeps its batches apart from those of `DataLoader.Train`, which may be the same set. Raises
    UserError where the recipe has no such block.
    """
    section = getattr(recipe.data, block, None)
    if section is not None and section.get("Train") is not None:  # as the reference's files nest it
        section = section["Train"]
    if section is None or section.get("dataset") is None:
        raise UserError(
            f"{recipe.name}: Global.train_mode {recipe.global_.train_mode} needs DataLoader.{block}"
        )
    return _training_loader(recipe, section, seed_of(recipe) + 1)


def _training_loader(recipe: Recipe, section: Any, seed: int | None = None) -> Loader:
    head = recipe.network.get("Head") or {}
    return build_loader(
        section,
        class_num=int(head["class_num"]) if head.get("class_num") is not None else None,
        seed=seed_of(recipe) if seed is None else seed,
        rank=process.rank(),
        world_size=process.world_size(),
        epochs=recipe.global_.epochs,
        training=True,
        reference_behaviour=recipe.global_.reference_behaviour,
    )


def run_folder(recipe: Recipe) -> Path:
    """`output_dir/RecModel`, where a run writes everything, whatever its architecture."""
    return Path(recipe.global_.output_dir) / "RecModel"
