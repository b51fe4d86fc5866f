"""Augmentations: shapes and types over the registry, and each against what it says in plain terms."""

from __future__ import annotations

import random
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from lookalike.core.errors import UserError
from lookalike.data import augmentations
from lookalike.data.augmentation.mixing import CHANGES

NEEDED: dict[str, dict[str, Any]] = {
    "RandCropImage": {"size": [32, 24]},
    "RandCropImageV2": {"size": [32, 24]},
    "RandomCropImage": {"size": [32, 24]},
    "RandomResizedCrop": {"size": [24, 32]},
}


def build(name: str, **arguments: Any) -> Any:
    return augmentations.build({name: arguments})


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    rng = np.random.default_rng(0)
    return cv2.resize(rng.integers(0, 256, (6, 5, 3), dtype=np.uint8), (48, 64))


@pytest.mark.parametrize("name", [entry.name for entry in augmentations])
def test_every_augmentation(name: str, picture: np.ndarray) -> None:
    operation = build(name, **NEEDED.get(name, {}))
    frozen = picture.copy()
    frozen.flags.writeable = False  # a cached picture
    global_states = (np.random.get_state()[1].copy(), random.getstate(), torch.get_rng_state())  # type: ignore[union-attr]
    for seed in range(10):
        once = operation(frozen, np.random.default_rng(seed))
        again = operation(frozen, np.random.default_rng(seed))
        assert np.array_equal(once, again)
        assert once.dtype == np.uint8
        assert once.ndim == 3
        assert once.shape[2] == 3
        if name in NEEDED:
            assert once.shape == (24, 32, 3)
    assert np.array_equal(frozen, picture)
    assert np.array_equal(np.random.get_state()[1], global_states[0])  # type: ignore[arg-type]
    assert random.getstate() == global_states[1]
    assert torch.equal(torch.get_rng_state(), global_states[2])


def test_crop_of_the_whole_image_is_a_resize(picture: np.ndarray) -> None:
    crop = build("RandCropImage", size=20, scale=[1, 1], ratio=[0.75, 0.75])
    expected = cv2.resize(picture, (20, 20))
    assert np.array_equal(crop(picture, np.random.default_rng(0)), expected)


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (2, 3)])
@pytest.mark.parametrize("name", ["RandCropImage", "RandomResizedCrop"])
def test_crops_of_tiny_images_hold_a_pixel(name: str, shape: tuple[int, int]) -> None:
    crop, rng = build(name, size=8), np.random.default_rng(0)
    for _ in range(50):
        top, left, height, width = crop.region(*shape, rng)
        assert min(height, width) >= 1
        assert top >= 0 <= left
        assert top + height <= shape[0]
        assert left + width <= shape[1]
    assert crop(np.zeros((*shape, 3), np.uint8), rng).shape == (8, 8, 3)


def test_windows_are_windows(picture: np.ndarray) -> None:
    for name in ("RandomCropImage", "RandCropImageV2"):
        rng = np.random.default_rng(1)
        seen = set()
        crop = build(name, size=[47, 62])
        for _ in range(200):
            window = crop(picture, rng)
            places = [
                (top, left)
                for top in range(3)
                for left in range(2)
                if np.array_equal(picture[top : top + 62, left : left + 47], window)
            ]
            assert len(places) == 1
            seen.add(places[0])
        assert len(seen) == 6, "every place that fits, none beyond"


def test_window_that_does_not_fit(picture: np.ndarray) -> None:
    with pytest.raises(
        UserError, match=r"RandCropImageV2 cuts 80x20 .* out of an image of 48x64: put a Resize"
    ):
        build("RandCropImageV2", size=[80, 20])(picture, np.random.default_rng(0))


@pytest.mark.parametrize("code", [-1, 0, 1])
def test_flip(code: int, picture: np.ndarray) -> None:
    flip, rng = build("RandFlipImage", flip_code=code), np.random.default_rng(2)
    axes = {-1: (0, 1), 0: (0,), 1: (1,)}[code]
    flipped = [not np.array_equal(flip(picture, rng), picture) for _ in range(400)]
    assert np.array_equal(np.flip(picture, axes), cv2.flip(picture, code))
    assert 150 < sum(flipped) < 250


def test_rotation_by_right_angles(picture: np.ndarray) -> None:
    half = build("RandomRotation", prob=1, degrees=[180, 180])
    assert np.array_equal(half(picture, np.random.default_rng(0)), picture[::-1, ::-1])
    quarter = build("RandomRotation", prob=1, degrees=[90, 90], expand=True)
    assert np.array_equal(quarter(picture, np.random.default_rng(0)), np.rot90(picture))


def test_rotation_fills_the_corners(picture: np.ndarray) -> None:
    turned = build("RandomRotation", prob=1, degrees=[45, 45], fill=[1, 2, 3])(
        picture, np.random.default_rng(0)
    )
    assert turned[0, 0].tolist() == [1, 2, 3]


def test_affine_matrix_against_its_parts() -> None:
    affine = build("RandomAffine", degrees=[90, 90])
    matrix = affine.matrix(64, 48, np.random.default_rng(0))
    center = np.array([23.5, 31.5])
    np.testing.assert_allclose(matrix @ [*center, 1], center, atol=1e-9)
    np.testing.assert_allclose(matrix @ [24.5, 31.5, 1], [23.5, 30.5], atol=1e-9)
    affine = build("RandomAffine", degrees=0, scale=[2, 2], shear=[45, 45], translate=0)
    matrix = affine.matrix(64, 48, np.random.default_rng(0))
    np.testing.assert_allclose(matrix[:, :2], [[2, 2], [0, 2]], atol=1e-9)


def test_affine_without_freedom_is_the_identity(picture: np.ndarray) -> None:
    affine = build("RandomAffine", degrees=0, translate=0, scale=[1, 1], shear=0)
    assert np.array_equal(affine(picture, np.random.default_rng(0)), picture)


def test_affine_stays_within_its_bounds() -> None:
    affine, rng = build("RandomAffine", degrees=0, translate=[0.1, 0.2], scale=[0.8, 1.25]), None
    rng = np.random.default_rng(3)
    center = np.array([23.5, 31.5])
    matrices = [affine.matrix(64, 48, rng) for _ in range(500)]
    shifts = np.array([m @ [*center, 1] - center for m in matrices])
    scales = np.array([m[0, 0] for m in matrices])
    assert (np.abs(shifts) <= [4.8 + 1e-9, 12.8 + 1e-9]).all()
    assert (np.abs(shifts).max(axis=0) > [4.5, 12]).all()
    assert 0.8 <= scales.min() < 0.82
    assert 1.22 < scales.max() <= 1.25
    assert np.log(scales).mean() == pytest.approx(0, abs=0.03)


def test_perspective_of_no_distortion_is_the_identity(picture: np.ndarray) -> None:
    assert np.array_equal(
        build("RandomPerspective", distortion_scale=0, prob=1)(picture, np.random.default_rng(0)), picture
    )


def test_brightness_is_a_factor(picture: np.ndarray) -> None:
    darker = build("ColorJitter", brightness=[0.5, 0.5])(picture, np.random.default_rng(0))
    np.testing.assert_allclose(darker, picture * 0.5, atol=1)


def test_saturation_of_zero_is_grey(picture: np.ndarray) -> None:
    grey = build("ColorJitter", saturation=[0, 0])(picture, np.random.default_rng(0))
    assert (grey == grey[:, :, :1]).all()
    also = build("RandomGrayscale", p=1)(picture, np.random.default_rng(0))
    np.testing.assert_allclose(also.astype(int), grey.astype(int), atol=1)


def test_hue_of_a_full_turn_needs_a_bound() -> None:
    with pytest.raises(UserError, match=r"hue must be one number in 0..0.5"):
        build("ColorJitter", hue=0.7)


def test_mixed_chains_against_a_naive_sum(picture: np.ndarray) -> None:
    from PIL import Image

    mix = build("AugMix", prob=1, aug_prob_coeff=1.0, mixture_depth=2, aug_severity=3)
    result = mix(picture, np.random.default_rng(4))
    rng = np.random.default_rng(4)
    rng.random()
    weights, share = rng.dirichlet([1.0] * 3), 0.0
    share = rng.beta(1.0, 1.0)
    expected = (1 - share) * picture.astype(np.float64)
    for weight in weights:
        chain = Image.fromarray(picture)
        for _ in range(2):
            change = CHANGES[int(rng.integers(9))]
            chain = change(chain, rng.uniform(0.1, 3), rng)
        expected += share * weight * np.asarray(chain, np.float64)
    np.testing.assert_allclose(result, expected, atol=0.51)


@pytest.mark.parametrize("mode", ["const", "rand", "pixel"])
def test_erasing_in_either_layout(mode: str) -> None:
    image = np.random.default_rng(0).standard_normal((30, 20, 3)).astype(np.float32)
    erase = build("RandomErasing", EPSILON=1, mode=mode, mean=[1, 2, 3])
    for seed in range(20):
        last = erase(image, np.random.default_rng(seed))
        first = erase(np.ascontiguousarray(image.transpose(2, 0, 1)), np.random.default_rng(seed))
        assert np.array_equal(first.transpose(1, 2, 0), last)
        assert (last != image).any()


def test_noise_of_erasing_needs_a_normalised_image(picture: np.ndarray) -> None:
    with pytest.raises(UserError, match=r"RandomErasing mode rand .* put it after NormalizeImage"):
        build("RandomErasing", EPSILON=1, mode="rand")(picture, np.random.default_rng(0))


def test_colour_after_the_normalisation_is_named() -> None:
    with pytest.raises(UserError, match=r"ColorJitter works on colour .* put it before NormalizeImage"):
        build("ColorJitter", brightness=0.1)(np.zeros((4, 4, 3), np.float32), np.random.default_rng(0))


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("RandCropImage", {"size": 0}, "size must be positive"),
        ("RandCropImage", {"size": 8, "scale": [0.5, 0.1]}, "scale must be"),
        ("RandCropImage", {"size": 8, "interpolation": "box"}, "interpolation 'box' does not exist"),
        ("RandomErasing", {"r1": 0}, "0 < r1 <= 1"),
        ("RandomErasing", {"sl": 0.5, "sh": 0.1}, "0 < sl <= sh"),
        ("RandomRotation", {"degrees": [10, -10]}, "degrees must be"),
        ("RandomAffine", {"scale": [0, 1]}, "scale must be"),
        ("AugMix", {"aug_severity": 20}, "aug_severity in 0.1..10"),
        ("RandFlipImage", {"flip_code": 2}, "must be"),
        ("RandCropImage", {"size": 8, "scal": [0.1, 1]}, "did you mean 'scale'"),
    ],
)
def test_wrong_arguments(name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(name, **arguments)
