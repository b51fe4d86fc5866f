"""Test-time views of a model folder: the same vectors as those of a checkpoint, without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lookalike import Embedder, Recipe
from lookalike.cli.scored_sets import sets_of_recipe
from lookalike.core.errors import UserError
from lookalike.deploy.extraction import extract
from lookalike.deploy.runtimes.runtime import GraphInput
from lookalike.deploy.views import encode_views, resize, with_views
from lookalike.evaluation.views import encode_views as encode_views_with_torch
from lookalike.images import Preprocess
from lookalike.recipe import Views
from lookalike.training import evaluate
from tests.tiny import recipe_values


def left_heavy(batch: np.ndarray) -> np.ndarray:
    """Three numbers a picture that change when it is mirrored."""
    places = np.linspace(1, 2, batch.shape[3], dtype=np.float32)
    return np.asarray((batch * places).mean(axis=(2, 3)))


@pytest.mark.parametrize("size", [(7, 5), (14, 10), (5, 21), (1, 1), (10, 9)])
def test_resizing_is_that_of_torch(size: tuple[int, int]) -> None:
    batch = np.random.default_rng(0).normal(size=(2, 3, 10, 9)).astype(np.float32)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(batch), size, mode="bilinear", align_corners=False, antialias=True
    )
    np.testing.assert_allclose(resize(batch, *size), expected.numpy(), atol=2e-6)  # other order of sums


@pytest.mark.parametrize("unit", [False, True])
def test_the_mean_is_that_of_an_evaluation(unit: bool) -> None:
    batch = np.random.default_rng(0).normal(size=(4, 3, 12, 8)).astype(np.float32)
    views = Views(True, (1.0, 0.7, 1.5))

    def feature_of(outputs: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(outputs) if unit else outputs

    expected = encode_views_with_torch(
        lambda x: torch.from_numpy(left_heavy(x.numpy())), torch.from_numpy(batch), views, feature_of
    )["features"]
    found = encode_views(left_heavy, batch, views, unit=unit)
    np.testing.assert_allclose(found, feature_of(expected).numpy(), atol=1e-6)


def test_bytes_are_mirrored_along_their_width() -> None:
    batch = np.arange(2 * 2 * 4 * 3, dtype=np.uint8).reshape(2, 2, 4, 3)
    seen: list[np.ndarray] = []

    def encode(given: np.ndarray) -> np.ndarray:
        seen.append(given)
        return np.ones((2, 1), np.float32)

    encode_views(encode, batch, Views(flip=True), unit=False)
    assert np.array_equal(seen[1], batch[:, :, ::-1])


@pytest.mark.parametrize("binarize", [None, "sign"])
def test_another_model_with_another_fingerprint(binarize: Any, pictures: Path, tmp_path: Path) -> None:
    paths = [str(pictures / "pictures" / "class 6" / f"{number}.png") for number in range(3)]
    operations = [
        {"ResizeImage": {"size": [8, 8]}},
        {"NormalizeImage": {"mean": [0.6] * 3, "std": [1.0] * 3, "order": "hwc"}},
    ]
    preprocess = Preprocess([*operations, {"ToCHWImage": None}])
    model = Embedder.of(left_heavy, preprocess, 3, binarize, "a", "left heavy")
    flipped = with_views(model, Views(flip=True), unit=False)
    batch = np.stack([preprocess(path) for path in paths])
    mean = (left_heavy(batch) + left_heavy(batch[..., ::-1])) / 2
    found = flipped.encode(paths)
    if binarize:
        assert np.array_equal(found, np.packbits(mean > 0, axis=1))
    else:
        np.testing.assert_allclose(found, mean, atol=1e-6)
    assert with_views(model, Views(), unit=True) is model
    assert model.runtime is left_heavy
    # a cache holds both, each under its own name
    kept = [extract(each, paths, cache=tmp_path).vectors for each in (model, flipped, model, flipped)]
    assert len(list(tmp_path.iterdir())) == 2
    assert np.array_equal(kept[0], kept[2])
    assert np.array_equal(kept[1], kept[3])
    assert np.array_equal(kept[1], found)


def test_a_graph_whose_sides_are_free_takes_other_sizes() -> None:
    class Graph:
        reentrant = True

        def __init__(self, *shape: int | None) -> None:
            self.input = GraphInput(Path("model.onnx"), "x", shape, np.dtype(np.float32))

        def __call__(self, batch: np.ndarray) -> np.ndarray:
            return left_heavy(batch)

    def viewed(*shape: int | None) -> Embedder:
        preprocess = Preprocess([{"ResizeImage": {"size": [8, 8]}}, {"ToCHWImage": None}])
        model = Embedder.of(Graph(*shape), preprocess, 3, None, "a", "a graph")
        return with_views(model, Views(scales=(1.0, 0.5)), unit=False)

    picture = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    free = viewed(None, 3, None, None)
    assert free.runtime.reentrant  # type: ignore[attr-defined]
    batch = np.moveaxis(picture, 2, 0)[None].astype(np.float32)
    expected = (left_heavy(batch) + left_heavy(resize(batch, 4, 4))) / 2
    np.testing.assert_allclose(free.encode([picture]), expected, rtol=1e-6)
    with pytest.raises(UserError, match=r"a graph takes pictures of one size only: scales 1\.0, 0\.5 need"):
        viewed(None, 3, 8, 8)


@pytest.mark.parametrize(
    "refusal",
    [AssertionError("Input height (4) doesn't match"), RuntimeError("of tensor a\nat 3"), ValueError()],
)
def test_a_network_that_refuses_another_size_is_one_sentence(refusal: Exception) -> None:
    def fixed(batch: np.ndarray) -> np.ndarray:
        if batch.shape[2] != 8:
            raise refusal
        return left_heavy(batch)

    preprocess = Preprocess([{"ResizeImage": {"size": [8, 8]}}, {"ToCHWImage": None}])
    model = Embedder.of(fixed, preprocess, 3, None, "a", "a checkpoint")
    reason = (str(refusal) or "ValueError").splitlines()[0]
    with pytest.raises(UserError, match=r"cannot take pictures of 4x4, which the scale 0\.5 makes") as told:
        with_views(model, Views(scales=(1.0, 0.5)), unit=False).encode([np.zeros((8, 8, 3), np.uint8)])
    assert f"makes ({reason}); leave the scales at 1" in str(told.value)


def test_a_model_folder_and_its_checkpoint(pictures: Path, trained: Path) -> None:
    values = recipe_values(pictures, trained)
    checkpoint = trained / "RecModel" / "best_model"
    values["Global"] |= {"pretrained_model": str(checkpoint), "test_time_flip": True}
    how: dict[str, Any] = {"normalize": True, "batch_size": 8, "cache": None}
    recipe = Recipe.from_dict(values)
    expected = evaluate(recipe, keep_features=True).query_set.features  # type: ignore[union-attr]
    found, _ = sets_of_recipe(str(trained / "inference"), recipe, **how)
    np.testing.assert_allclose(found.features, expected, atol=1e-5)  # two engines
    plain, _ = sets_of_recipe(str(trained / "inference"), recipe, views=Views(), **how)
    assert not np.allclose(plain.features, expected, atol=1e-3)

    recipe = Recipe.from_dict({**values, "Global": {**values["Global"], "test_time_scales": [1.0, 0.75]}})
    expected = evaluate(recipe, keep_features=True).query_set.features  # type: ignore[union-attr]
    found, _ = sets_of_recipe(str(checkpoint), recipe, **how)
    np.testing.assert_allclose(found.features, expected, atol=1e-5)
    with pytest.raises(UserError, match=r"takes pictures of one size only: scales 1.0, 0.75, each mirror"):
        sets_of_recipe(str(trained / "inference"), recipe, **how)
    model = Embedder(trained / "inference")
    flipped = with_views(model, Views(flip=True), unit=True)
    assert flipped.fingerprint != model.fingerprint
    assert flipped.thresholds() is None
    flipped.verify()
