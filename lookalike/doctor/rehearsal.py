"""A few training steps and one evaluation of a few pictures: does it run, what memory and what time will
it take?
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from lookalike.core.component import Component
from lookalike.core.errors import LookalikeError, line_of
from lookalike.data import Loader, LoaderSettings, build_dataset, build_sampler
from lookalike.doctor.findings import Report
from lookalike.doctor.parts import Parts
from lookalike.doctor.sets import Block, Sets
from lookalike.model import Model
from lookalike.recipe import Recipe
from lookalike.training.benchmark import Benchmark, class_numbers
from lookalike.training.distributed import choose_device
from lookalike.training.layout import memory_layout
from lookalike.training.optimizers import Optimizers
from lookalike.training.precision import Precision
from lookalike.training.scoring import score
from lookalike.training.steps.base import in_float32

CLASSES, EACH = 4, 2
"""A rehearsal trains on so many classes with so many pictures each, more of small pictures."""
PIXELS = CLASSES * EACH * 224 * 224
STEPS, MOST_STEPS, LONG_ENOUGH, PATIENCE = 3, 20, 1.5, 12.0
"""At least three steps are timed, more where they take less than 1.5 seconds together, and the quickest
counts; after 12 seconds no further one is begun.
"""
MEGABYTE = 2**20


@dataclass
class Rehearsed:
    """What was measured: seconds a picture to read, to train and to embed, and of an update; megabytes by
    purpose.
    """

    device: torch.device
    read: float | None
    train: float
    update: float
    embed: float
    memory: dict[str, float]


def rehearse(
    recipe: Recipe,
    parts: Parts,
    optimizers: Optimizers | None,
    sets: Sets,
    broken: set[str],
    report: Report,
) -> Rehearsed | None:
    """Run a little of the training, on real pictures where there are any, else on noise.

    A mistake that only shows when things run (a loss that reads what the model does not give, a NaN) becomes
    a problem of the report.
    """
    model, loss = parts.model, parts.loss
    if model is None or loss is None or optimizers is None:
        return None
    settings = recipe.global_
    with report.catch("device"), torch.random.fork_rng(), _threads(settings.num_threads):
        device = choose_device(settings.device, settings.require_gpu)
        torch.manual_seed(settings.seed or 0)
        images, labels, read = _pictures(recipe, sets, broken, report)
        labels = labels % model.class_num if model.class_num else labels
        layout = memory_layout(model, device)
        model = model.to(device=device, memory_format=layout)  # type: ignore[call-overload]
        images = images.to(device).contiguous(memory_format=layout)
        labels = labels.to(device)
        loss.to(device)
        made_up = read is None
        done = _steps(recipe, model, loss, optimizers, images, labels, made_up, device, report)
        if done is None:
            return None
        seconds, update, activations = done
        memory = _memory(
            recipe,
            model,
            loss,
            optimizers,
            activations / len(images),
            sets.batch_size(CLASSES * EACH),
            images[0],
        )
        embed = _embedding_time(model, images)
        _rehearse_scoring(recipe, model, sets, broken, device, report)
        return Rehearsed(device, read, seconds / len(images), update, embed / len(images), memory)
    return None


@contextmanager
def _threads(number: int | None) -> Iterator[None]:
    """As many threads as the run will have."""
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _pictures(
    recipe: Recipe, sets: Sets, broken: set[str], report: Report
) -> tuple[Tensor, Tensor, float | None]:
    """Images (N, C, H, W), labels (N,), and the seconds it took to read and vary one."""
    channels, height, width = recipe.global_.image_shape
    count = max(CLASSES * EACH, min(sets.batch_size(CLASSES * EACH), PIXELS // (height * width)))
    # not black ones: a batch norm that sees no variance blows up
    made_up = torch.randn(count, channels, height, width), torch.arange(count) // EACH, None
    block = sets.train
    if block is None or block.loader is None or block.records is None:
        return made_up
    loader = _few(recipe, block, _some(block.records.labels, block.records.paths, broken, count))
    if loader is None:
        return made_up
    try:
        seconds = math.inf
        for _ in range(2):  # the first time loads libraries
            started = time.perf_counter()
            batch = next(iter(loader))
            seconds = min(seconds, time.perf_counter() - started)
    except LookalikeError as error:
        report.wrong("transforms", str(error))
        return made_up
    images = batch["image"]
    if tuple(images.shape[1:]) != (channels, height, width):
        report.doubtful(
            "transforms",
            f"{block.path} gives pictures of {list(images.shape[1:])}, but Global.image_shape, for which the "
            f"model is "
            f"exported, is {[channels, height, width]}",
        )
    return images, batch["label"], seconds / len(images)


def _some(labels: np.ndarray, paths: list[str], broken: set[str], count: int) -> list[int]:
    """Positions of about `count` whole pictures, two or more of a class, from the classes with the most
    pictures.
    """
    good = np.array([index for index, path in enumerate(paths) if path not in broken], dtype=np.int64)
    if not len(good):
        return []
    distinct, counts = np.unique(labels[good], return_counts=True)
    classes = min(len(distinct), max(1, count // EACH))
    chosen = distinct[np.argsort(-counts, kind="stable")[:classes]]
    each = -(-count // classes)
    return [index for label in chosen for index in good[labels[good] == label][:each].tolist()][:count]


def _few(recipe: Recipe, block: Block, indices: Iterable[int]) -> Loader | None:
    """A loader of these pictures of a block in one batch, prepared as the block says, read in this
    process.
    """
    chosen = list(indices)
    if not chosen or block.records is None:
        return None
    component = Component.of(block.section["dataset"])
    arguments = {
        key: value for key, value in component.arguments.items() if key not in ("cache", "rotated_classes")
    }
    dataset = build_dataset(
        Component(component.name, arguments, component.place),
        seed=recipe.global_.seed or 0,
        reference_behaviour=recipe.global_.reference_behaviour,
        records=block.records.subset(chosen),
    )
    sampler = build_sampler(
        {"name": "DistributedBatchSampler", "batch_size": len(chosen), "shuffle": False}, dataset.records
    )
    return Loader(dataset, sampler, LoaderSettings(num_workers=0))


def _steps(
    recipe: Recipe,
    model: Model,
    loss: nn.Module,
    optimizers: Optimizers,
    images: Tensor,
    labels: Tensor,
    made_up: bool,
    device: torch.device,
    report: Report,
) -> tuple[float, float, int] | None:
    """Seconds of forward and backward, seconds of an update, and bytes kept for the backward pass."""
    precision = Precision(recipe.amp, device)
    model.train()
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    seconds = update = math.inf
    kept, begun = 0, time.perf_counter()
    for done in range(1, MOST_STEPS + 1):
        kept_now: dict[int, int] = {}

        def keep(tensor: Tensor, storages: dict[int, int] = kept_now) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                storages[storage.data_ptr()] = storage.nbytes()
            return tensor

        started = _now(device)
        try:
            with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
                with precision.autocast():
                    outputs = model(images, labels)
                values = loss(in_float32(outputs), labels)
            values["loss"].backward()
            computed = _now(device)
            optimizers.step()
        except LookalikeError as error:
            report.wrong("rehearsal", str(error))
            return None
        except (RuntimeError, ValueError, IndexError) as error:
            report.wrong("rehearsal", f"a training step failed: {line_of(error)}")
            return None
        seconds, update = min(seconds, computed - started), min(update, _now(device) - computed)
        kept = sum(kept_now.values())
        optimizers.zero_grad()
        bad = [name for name, value in values.items() if not math.isfinite(float(value.detach()))]
        if bad and made_up:  # untrained weights at the full rate on noise: of a real run it tells little
            report.doubtful(
                "rehearsal", f"{bad[0]} was not finite on made-up pictures: check again with the real ones"
            )
            return None
        if bad:
            report.wrong(
                "rehearsal", f"{bad[0]} is not finite in the first steps: look at the losses and the rate"
            )
            return None
        passed = time.perf_counter() - begun
        if passed > PATIENCE or (done >= STEPS and passed > LONG_ENOUGH):
            break
    kind = "made-up pictures" if made_up else "pictures"
    report.right("rehearsal", f"training steps of {len(images)} {kind} ran on {device}")
    return seconds, update, kept


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _memory(
    recipe: Recipe,
    model: Model,
    loss: nn.Module,
    optimizers: Optimizers,
    activations: float,
    batch_size: int,
    image: Tensor,
) -> dict[str, float]:
    """Megabytes of a training step, by purpose; what single operations need for a moment comes on top."""
    parameters = [*model.parameters(), *loss.parameters()]
    state = [
        value
        for part in optimizers.parts
        for entry in part.optimizer.state.values()
        for value in entry.values()
        if isinstance(value, Tensor)
    ]
    weights = sum(_bytes(parameter) for parameter in parameters) + sum(
        _bytes(buffer) for buffer in model.buffers()
    )
    sizes = {
        "parameters": float(weights),
        "gradients": float(sum(_bytes(parameter) for parameter in parameters if parameter.requires_grad)),
        "optimizer": float(sum(_bytes(value) for value in state)),
        "activations": activations * batch_size,
        "pictures": float(_bytes(image) * batch_size),
    }
    if recipe.ema is not None:
        sizes["ema"] = float(sum(_bytes(value) for value in model.state_dict().values()))
    return {name: round(size / MEGABYTE, 2) for name, size in sizes.items()}


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _embedding_time(model: Model, images: Tensor) -> float:
    model.eval()
    with torch.inference_mode():
        started = _now(images.device)
        model.embed(images)
        return _now(images.device) - started


def _rehearse_scoring(
    recipe: Recipe, model: Model, sets: Sets, broken: set[str], device: torch.device, report: Report
) -> None:
    """Score a few queries and their like in the gallery, as the first evaluation would."""
    for name, (query, gallery) in sets.searches.items():
        if query.loader is None or gallery.loader is None or query.records is None or gallery.records is None:
            continue
        known = np.intersect1d(query.records.labels, gallery.records.labels)[:CLASSES]
        picked = [_of_labels(block, known, broken) for block in (query, gallery)]
        if not picked[0] or not picked[1] or query.records.pairs is not None:
            continue  # of pairs, a few say nothing
        with report.catch("evaluation"):
            loaders = [_few(recipe, block, own) for block, own in zip((query, gallery), picked, strict=True)]
            if loaders[0] is None:
                continue
            if query is not gallery and loaders[1] is not None:
                report_shape = next(iter(loaders[0]))["image"].shape[1:]
                _same_shape(name, report_shape, next(iter(loaders[1]))["image"].shape[1:], report)
            benchmark = Benchmark(name, loaders[0], None if query is gallery else loaders[1])
            if recipe.global_.eval_mode == "classification":
                training = sets.train.records if sets.train is not None else None
                benchmark.class_of = class_numbers(recipe, query.records, training)
            score(model, recipe, benchmark, device)
            report.right("evaluation", f"{name}: {len(picked[0])} queries were scored to see that it runs")


def _same_shape(name: str, query: torch.Size, gallery: torch.Size, report: Report) -> None:
    if query != gallery:
        report.doubtful(
            "transforms",
            f"{name}: query pictures are {list(query)} and gallery pictures {list(gallery)}: make them alike",
        )


def _of_labels(block: Block, labels: np.ndarray, broken: set[str], each: int = 3) -> list[int]:
    records = block.records
    assert records is not None
    chosen: list[int] = []
    for label in labels:
        own = [int(index) for index in np.flatnonzero(records.labels == label)]
        chosen += [index for index in own if records.paths[index] not in broken][:each]
    return chosen
