"""Every shipped recipe builds, with its own numbers; those of the real pictures find and read them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
import torch

from lookalike.data import build_loader, build_sampler, build_transforms
from lookalike.evaluation import check_metrics
from lookalike.images import dataset_operations
from lookalike.loss import build_loss
from lookalike.model import DistillationModel, RecModel, build_model
from lookalike.recipe import Recipe, list_recipes, load_recipe, missing_paths
from lookalike.training import build_optimizer
from tests.conftest import REPOSITORY, needs_shared


@pytest.mark.parametrize("name", list_recipes())
def test_a_shipped_recipe_builds(name: str) -> None:
    recipe = load_recipe(name)
    with torch.device("meta"):  # heads have up to 192613 classes
        model = build_model(recipe.arch, pretrained=False)
    loss = build_loss(recipe.loss_train)
    if recipe.data is None:
        return
    settings = recipe.global_
    assert build_optimizer(recipe.optimizer, model, loss, epochs=settings.epochs, steps_per_epoch=10).parts
    check_metrics(recipe.metrics_eval, settings.eval_mode)
    if settings.train_mode is None:  # others have losses of several passes
        values = loss(made_up_outputs(recipe, model), torch.arange(8) // 2)
        assert torch.isfinite(values["loss"])


def made_up_outputs(recipe: Recipe, model: RecModel | DistillationModel) -> dict[str, Any]:
    """What the model of a recipe gives for eight pictures, by chance."""
    if isinstance(model, DistillationModel):
        arches = {name: arch for entry in recipe.arch["models"] for name, arch in entry.items()}
        return {
            name: made_up_outputs(Recipe.from_dict({"Arch": arches[name]}), model.model(name))
            for name in model.names
        }
    channels, height, width = recipe.global_.image_shape
    features = model.embedding_size((channels, height, width))
    outputs = {"backbone": torch.randn(8, features), "features": torch.randn(8, features)}
    if head := recipe.arch.get("Head"):
        for name in ("logits", *(f"logits_{size}" for size in head.get("sizes", ()))):
            outputs[name] = torch.randn(8, head["class_num"])
    return outputs


def blocks(data: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The blocks of a recipe that hold a data set, with their sampler."""
    for value in data.values():
        if isinstance(value, Mapping):
            if "dataset" in value:
                yield value
            else:
                yield from blocks(value)


@pytest.mark.parametrize("name", list_recipes())
def test_pictures_come_out_in_the_size_of_the_recipe(name: str) -> None:
    recipe = load_recipe(name)
    channels, height, width = recipe.global_.image_shape
    random = np.random.default_rng(0)
    for block in blocks(recipe.tree.get("DataLoader") or {}):
        dataset = block["dataset"]
        views = [value for key, value in dataset.items() if key.startswith("transform_ops_")]
        for operations in views or [dataset_operations(dataset)]:
            resized = "Resize" in str(operations)
            side = (50, 70, 3) if resized else (height, width, 3)
            picture = random.integers(0, 255, side, dtype=np.uint8)
            assert build_transforms(operations)(picture, random).shape == (channels, height, width)


@pytest.mark.parametrize("name", list_recipes())
def test_the_sampler_of_a_recipe_gives_whole_batches(name: str) -> None:
    recipe = load_recipe(name)
    if recipe.data is None:
        return
    assert recipe.data.Train is not None
    section = recipe.data.Train["sampler"]
    labels = np.repeat(np.arange((recipe.arch.get("Head") or {}).get("class_num", 1000)), 8)
    sampler = build_sampler(section, labels, seed=0, rank=0, world_size=1, epochs=1)
    assert len(next(iter(sampler))) == min(section["batch_size"], len(labels))


@needs_shared
@pytest.mark.parametrize("name", ["metric_learning/omniglot", "product/grocery_mobilenetv2"])
def test_the_real_pictures_are_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    workers = [
        f"DataLoader.{block}.loader.num_workers=0" for block in ("Train", "Eval.Query", "Eval.Gallery")
    ]
    recipe = load_recipe(name, workers)
    assert missing_paths(recipe) == []
    assert recipe.data is not None
    assert recipe.data.Train is not None
    assert recipe.data.Eval is not None
    train = build_loader(recipe.data.Train, seed=0, rank=0, world_size=1, epochs=1, training=True)
    assert train.records.num_classes == recipe.arch["Head"]["class_num"]
    query, gallery = (
        build_loader(recipe.data.Eval[part], seed=0, rank=0, world_size=1, epochs=1, training=False)
        for part in ("Query", "Gallery")
    )
    assert set(query.records.labels) == set(gallery.records.labels)
    for loader in (train, query):
        batch = next(iter(loader))
        assert list(batch["image"].shape[1:]) == recipe.global_.image_shape
        assert batch["image"].abs().max() < 20
