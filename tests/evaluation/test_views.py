"""Test-time views: the mean feature against a naive loop, what a loss and a code are made of, other sizes."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lookalike import Recipe
from lookalike.core.errors import UserError
from lookalike.evaluation import collect_features, evaluate
from lookalike.evaluation.views import encode_views
from lookalike.recipe import Views
from lookalike.training import evaluate as evaluate_recipe
from tests.evaluation.loaders import Vectors, random_set
from tests.tiny import recipe_values

SCALES = (1.5, 1.0, 0.5)


def network() -> nn.Module:
    """Takes any size, and tells left from right."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()


def pictures(count: int = 7, **more: Any) -> Vectors:
    generator = np.random.default_rng(0)
    values = generator.normal(size=(count, 3, 9, 6)).astype(np.float32)
    return Vectors(values, np.arange(count) % 2, batch_size=3, **more)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("normalize", [False, True])
def test_the_mean_is_that_of_a_naive_loop(flip: bool, normalize: bool) -> None:
    model, loader = network(), pictures()
    found, _ = collect_features(model, loader, feature_normalize=normalize, views=Views(flip, SCALES))
    assert found is not None
    for picture, feature in zip(torch.from_numpy(loader.features), found.features, strict=True):
        vectors = []
        for height, width in ((14, 9), (9, 6), (4, 3)):  # 13.5 and 4.5 go to the even side
            view = nn.functional.interpolate(
                picture[None], (height, width), mode="bilinear", align_corners=False, antialias=True
            )
            for each in [view, torch.flip(view, dims=[3])] if flip else [view]:
                vectors.append(model(each)[0].detach().numpy().astype(np.float64))
        if normalize:
            vectors = [vector / np.linalg.norm(vector) for vector in vectors]
        mean = np.mean(vectors, axis=0)
        expected = mean / np.linalg.norm(mean) if normalize else mean
        np.testing.assert_allclose(feature, expected, atol=1e-6)  # sums of six float32


def test_a_model_that_does_not_tell_left_from_right_gives_what_it_gave() -> None:
    loader = pictures()

    def rows(images: torch.Tensor) -> torch.Tensor:
        return images.amax(dim=3).flatten(1)

    plain, flipped = (collect_features(rows, loader, views=Views(flip))[0] for flip in (False, True))
    assert plain is not None
    assert flipped is not None
    np.testing.assert_allclose(flipped.features, plain.features, atol=1e-6)


def test_one_view_is_the_picture_itself() -> None:
    seen: list[torch.Tensor] = []

    def encode(images: torch.Tensor) -> dict[str, torch.Tensor]:
        seen.append(images)
        return {"features": images.flatten(1) / 3}

    images = torch.from_numpy(pictures().features)
    found = encode_views(encode, images, Views(), lambda outputs: outputs["features"])
    assert len(seen) == 1
    assert seen[0] is images
    assert torch.equal(found["features"], images.flatten(1) / 3)
    encode_views(encode, images, Views(scales=[1.01]), lambda outputs: outputs["features"])
    assert seen[1] is images  # of no other size after rounding


def test_the_loss_sees_the_first_view_and_codes_are_made_of_the_mean() -> None:
    """With outputs in a dict, of which other parts and other models stay as they are."""
    loader, model = pictures(), network()

    def encode(images: torch.Tensor) -> dict[str, Any]:
        features = model(images) - 0.3
        return {"backbone": features, "features": -features, "teacher": {"logits": features + 1}}

    losses: list[dict[str, Any]] = []

    def loss(outputs: dict[str, Any], labels: torch.Tensor) -> dict[str, torch.Tensor]:
        losses.append(outputs)
        return {"loss": outputs["backbone"].mean()}

    views = Views(flip=True)
    found, means = collect_features(
        encode, loader, feature_normalize=False, feature_binarize="sign", feature_from="backbone",
        views=views, loss=loss,
    )  # fmt: skip
    assert found is not None
    images = torch.from_numpy(loader.features)
    both = (model(images) + model(images.flip(3))) / 2 - 0.3
    assert np.array_equal(found.features, np.sign(both.detach().numpy()))
    assert not np.array_equal(found.features, np.sign(model(images).detach().numpy() - 0.3))
    assert torch.cat([each["teacher"]["logits"] for each in losses]).shape == (7, 5)
    first = torch.cat([each["features"] for each in losses])
    torch.testing.assert_close(first, 0.3 - model(images), rtol=0, atol=1e-6)
    assert means["loss"] == pytest.approx(-float(first.mean()), abs=1e-6)


def test_every_view_is_encoded_in_the_size_of_whole_batches() -> None:
    sizes = []

    def encode(images: torch.Tensor) -> torch.Tensor:
        sizes.append(tuple(images.shape))
        return images.mean(dim=(2, 3))

    collect_features(encode, pictures(count=4), views=Views(True, (1.0, 0.5)))
    assert sizes == 2 * [(3, 3, 9, 6), (3, 3, 9, 6), (3, 3, 4, 3), (3, 3, 4, 3)]


def test_padding_is_cut() -> None:
    whole = random_set(30, 4)
    order = np.concatenate([np.random.default_rng(0).permutation(30), [3, 3, 7]])
    views = Views(flip=True)
    found = evaluate(lambda x: x, replace(whole, order=order), views=views)
    assert found.metrics == evaluate(lambda x: x, whole, views=views).metrics
    assert found.metrics != evaluate(lambda x: x, whole).metrics


def test_a_model_that_takes_one_size_only() -> None:
    flattened = nn.Sequential(nn.Flatten(), nn.Linear(3 * 9 * 6, 4))
    with pytest.raises(UserError) as caught:
        collect_features(flattened, pictures(), views=Views(scales=(1.0, 0.7)))
    said = (
        "Global.test_time_scales: the model cannot take pictures of 6x4, which the scale 0.7 makes (mat1 and"
    )
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)
    collect_features(flattened, pictures(), views=Views(flip=True))
    with pytest.raises(UserError, match=r"0\.05 leaves nothing of pictures of 9x6"):
        collect_features(network(), pictures(), views=Views(scales=(0.05,)))


def test_other_failures_are_not_taken_for_a_wrong_size() -> None:
    def full(images: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("of the device")

    with pytest.raises(torch.OutOfMemoryError):
        collect_features(full, pictures(), views=Views(scales=(2.0,)))

    def failing(images: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("at its own size")

    with pytest.raises(RuntimeError, match="at its own size"):
        collect_features(failing, pictures(), views=Views(True, (1.0, 2.0)))


@pytest.mark.parametrize(
    ("scales", "said"),
    [
        ([], "at least one scale is needed"),
        ([1, 0.0], "scales must be finite and above 0"),
        ([-1.0], "scales must be finite and above 0"),
        ([float("nan")], "scales must be finite and above 0"),
        ([float("inf")], "scales must be finite and above 0"),
        ([1.0, 0.5, 1], "the scale 1 stands there twice"),
    ],
)
def test_scales_that_are_none(scales: list[float], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Views(scales=scales)
    with pytest.raises(UserError, match=rf"Global\.test_time_scales: {re.escape(said)}.*, got \["):
        Recipe.from_dict({"Global": {"test_time_scales": scales}})


def test_the_keys_of_a_recipe() -> None:
    settings = Recipe.from_dict({"Global": {"test_time_flip": True, "test_time_scales": ["1/2", 1]}}).global_
    assert settings.views == Views(True, (0.5, 1.0))
    assert settings.views.cost == 2.5
    assert Recipe.from_dict({}).global_.views == Views()
    assert Views().plain
    with pytest.raises(UserError, match=r"test_time_scales\[1\]: a number is needed, not true or false"):
        Recipe.from_dict({"Global": {"test_time_scales": [0.5, True]}})


def test_views_of_a_recipe(pictures: Path, trained: Path) -> None:
    """`eval` scores the mean features, also beside a loss, and refuses views where nothing is searched."""
    values = recipe_values(pictures, trained)
    values["Global"]["pretrained_model"] = str(trained / "RecModel" / "best_model")

    def features(**settings: Any) -> np.ndarray:
        own = {**values, "Global": {**values["Global"], **settings}}
        found = evaluate_recipe(Recipe.from_dict(own), keep_features=True)
        assert found.query_set is not None  # type: ignore[union-attr]
        return found.query_set.features  # type: ignore[union-attr, no-any-return]

    plain, both = features(), features(test_time_flip=True, test_time_scales=[1.0, 0.75])
    np.testing.assert_allclose(np.linalg.norm(both, axis=1), 1, atol=1e-6)
    assert not np.allclose(plain, both, atol=1e-3)
    for mode, more in (("classification", ""), ("adaface", ", which adds the mirror image of a face")):
        values["Metric"] = {"Eval": [{"TopkAcc": {}}]} if mode == "classification" else {"Eval": []}
        with pytest.raises(UserError, match=rf"Global.test_time_flip .* Global.eval_mode: {mode}{more}"):
            features(test_time_flip=True, eval_mode=mode)
