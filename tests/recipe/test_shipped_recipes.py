"""Every shipped recipe builds, with its own numbers; those of the real pictures find and read them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lookalike.data import build_loader, build_sampler, build_transforms
from lookalike.evaluation import build_metrics
from lookalike.loss import build_loss
from lookalike.model import build_model
from lookalike.recipe import list_recipes, load_recipe, missing_paths
from lookalike.training import build_optimizer
from tests.conftest import REPOSITORY, needs_shared


@pytest.mark.parametrize("name", list_recipes())
def test_a_shipped_recipe_builds(name: str) -> None:
    recipe = load_recipe(name, ["Arch.Backbone.pretrained=False"])
    settings = recipe.global_
    channels, height, width = settings.image_shape
    head = recipe.arch["Head"]
    with torch.device("meta"):
        model = build_model(recipe.arch)
    assert model.embedding_size((channels, height, width)) == head["embedding_size"]
    loss = build_loss(recipe.loss_train)
    outputs = {
        "backbone": torch.randn(8, head["embedding_size"]),
        "features": torch.randn(8, head["embedding_size"]),
        "logits": torch.randn(8, head["class_num"]),
    }
    assert torch.isfinite(loss(outputs, torch.arange(8) // 2)["loss"])
    assert build_optimizer(recipe.optimizer, model, loss, epochs=settings.epochs, steps_per_epoch=10).parts
    assert build_metrics(recipe.metrics_eval)
    assert recipe.data is not None
    assert recipe.data.Train is not None
    assert recipe.data.Eval is not None
    random = np.random.default_rng(0)
    picture = random.integers(0, 255, (50, 70, 3), dtype=np.uint8)
    for block in (recipe.data.Train, recipe.data.Eval["Query"], recipe.data.Eval["Gallery"]):
        image = build_transforms(block["dataset"]["transform_ops"])(picture, random)
        assert image.shape == (channels, height, width)
    labels = np.repeat(np.arange(head["class_num"]), 2)
    sampler = build_sampler(recipe.data.Train["sampler"], labels, seed=0, rank=0, world_size=1, epochs=1)
    assert len(next(iter(sampler))) == recipe.data.Train["sampler"]["batch_size"]


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
