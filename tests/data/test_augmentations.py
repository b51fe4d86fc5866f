"""Augmentations: shapes and types over the registry, and each against what it says in plain terms."""

from __future__ import annotations

import pickle
import random
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from timm.data.auto_augment import rand_augment_transform

from lookalike.core.errors import UserError
from lookalike.data import augmentations
from lookalike.data.augmentation import changes
from lookalike.data.augmentation.mixing import CHANGES

NEEDED: dict[str, dict[str, Any]] = {
    "RandCropImage": {"size": [32, 24]},
    "RandCropImageV2": {"size": [32, 24]},
    "RandomCropImage": {"size": [32, 24]},
    "RandomCrop": {"size": [32, 24]},
    "RandomResizedCrop": {"size": [24, 32]},
}
ALSO_NEEDED: dict[str, dict[str, Any]] = {
    "RandomInterpolationAugment": {"prob": 0.5},
    "RandomApply": {"p": 0.5, "transforms": [{"RandFlipImage": None}, {"Pad": {"padding": 2}}]},
}


def build(name: str, **arguments: Any) -> Any:
    return augmentations.build({name: arguments})


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    rng = np.random.default_rng(0)
    return cv2.resize(rng.integers(0, 256, (6, 5, 3), dtype=np.uint8), (48, 64))


@pytest.mark.parametrize("name", [entry.name for entry in augmentations])
def test_every_augmentation(name: str, picture: np.ndarray) -> None:
    operation = build(name, **NEEDED.get(name, ALSO_NEEDED.get(name, {})))
    operation = pickle.loads(pickle.dumps(operation))  # as it comes to a worker that is spawned
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


def test_an_image_smaller_than_the_window_may_be_padded() -> None:
    image = np.full((10, 30, 3), 200, np.uint8)
    crop = build("RandomCrop", size=[20, 16], pad_if_needed=True, fill=7)
    places = set()
    for seed in range(60):
        window = crop(image, np.random.default_rng(seed))
        rows = np.flatnonzero((window == 200).all((1, 2)))
        assert window.shape == (16, 20, 3)
        assert len(rows) == 10
        assert set(np.unique(window)) == {7, 200}
        places.add(int(rows[0]))
    assert places == set(range(7))
    with pytest.raises(UserError, match="RandomCrop cuts 20x16"):
        build("RandomCrop", size=[20, 16])(image, np.random.default_rng(0))


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
        ("RandAugment", {"magnitude": 11}, "magnitude must lie in 0..10"),
        ("TimmAutoAugment", {"config_str": "rand-x9"}, "'rand-x9' is no policy of timm: write rand-m9"),
        ("Cutout", {"length": 0}, "at least 1"),
        ("Cutout", {"fill_value": "black"}, "or none, got 'black'"),
        ("GridMask", {"d1": 9, "d2": 9}, "needs 1 <= d1 < d2"),
        ("BlurImage", {"max_size": 2}, "max_size must be at least 3"),
        ("RandomApply", {"p": 1, "transforms": []}, "at least one operation"),
        ("RandomApply", {"p": 1, "transforms": ["RandFlipImages"]}, "did you mean 'RandFlipImage'"),
        ("RandomApply", {"p": 1, "transforms": ["ToTensor"]}, "channels last, and not ToTensor"),
    ],
)
def test_wrong_arguments(name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(name, **arguments)


def test_levels_against_pillow(picture: np.ndarray) -> None:
    rng, image = np.random.default_rng(0), Image.fromarray(picture)
    for bits in range(1, 9):
        ours = np.asarray(changes.posterize(image, bits, rng))
        assert np.array_equal(ours, np.asarray(ImageOps.posterize(image, bits)))
    assert not np.asarray(changes.posterize(image, 0, rng)).any()
    brighter = np.where(picture < 128, np.minimum(picture.astype(int) + 60, 255), picture)
    assert np.array_equal(np.asarray(changes.solarize_add(image, 60.9, rng)), brighter)


def test_directions_of_warps(picture: np.ndarray) -> None:
    image = Image.fromarray(picture)
    shift = changes.Warp("translateX", (1, 2, 3), Image.Resampling.NEAREST, in_pixels=True)
    left, right = np.roll(picture, -5, axis=1), np.roll(picture, 5, axis=1)
    left[:, -5:], right[:, :5] = (1, 2, 3), (1, 2, 3)
    seen = {np.asarray(shift(image, 5, np.random.default_rng(seed))).tobytes() for seed in range(20)}
    assert seen == {left.tobytes(), right.tobytes()}
    turn = changes.Warp("rotate", (0, 0, 0), Image.Resampling.NEAREST)
    seen = {np.asarray(turn(image, 30, np.random.default_rng(seed))).tobytes() for seed in range(20)}
    assert len(seen) == 2
    turn = changes.Warp("rotate", (0, 0, 0), Image.Resampling.NEAREST, one_way=True)
    assert len({np.asarray(turn(image, 30, np.random.default_rng(s))).tobytes() for s in range(20)}) == 1


@pytest.mark.parametrize("name", ["RandAugment", "RandAugmentV2", "RandAugmentV3"])
def test_rand_augment_of_no_layers_changes_nothing(name: str, picture: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    assert np.array_equal(build(name, num_layers=0)(picture, rng), picture)
    weak = build(name, magnitude=0).steps
    strong = build(name, magnitude=10).steps
    assert len(weak) == len(strong) == (16 if name == "RandAugmentV2" else 14)


def test_auto_augment_has_the_policy_of_the_paper() -> None:
    pairs = build("AutoAugment").pairs
    assert len(pairs) == 25
    assert all(len(pair) == 2 for pair in pairs)
    (posterize, bits, probability), (rotate, degrees, _) = pairs[0]
    assert (posterize, bits, probability) == (changes.posterize, 4, 0.4)
    assert (rotate.kind, degrees) == ("rotate", pytest.approx(30))


def test_a_policy_of_timm_is_that_of_timm(picture: np.ndarray) -> None:
    ours = build("TimmAutoAugment", config_str="rand-m9-mstd0.5-inc1", img_size=[48, 64], mean=None)
    settings = {
        "translate_const": 21,  # 0.45 of the shorter side
        "img_mean": (124, 116, 104),
        "interpolation": Image.Resampling.BICUBIC,
    }
    theirs = rand_augment_transform("rand-m9-mstd0.5-inc1", settings)
    for seed in range(20):
        result = ours(picture, np.random.default_rng(seed))
        rng = np.random.default_rng(seed)
        rng.random()
        state, numpy_state, drawn = random.getstate(), np.random.get_state(), int(rng.integers(2**32))
        random.seed(drawn)
        np.random.seed(drawn)
        expected = np.asarray(theirs(Image.fromarray(picture)))
        random.setstate(state)
        np.random.set_state(numpy_state)
        assert np.array_equal(result, expected)


@pytest.mark.parametrize("name", ["augmix-m3-w3", "v0", "original-mstd0.5"])
def test_other_policies_of_timm(name: str) -> None:
    square = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    assert build("TimmAutoAugment", config_str=name)(square, np.random.default_rng(0)).shape == square.shape


def test_holes_have_their_size() -> None:
    image = np.full((40, 60, 3), 9, np.uint8)
    for length in (7, 10):
        cut, larger = (build("Cutout", length=length, reference_behaviour=b) for b in (False, True))
        sizes, reference_sizes = set(), set()
        for seed in range(60):
            gone = cut(image, np.random.default_rng(seed))[:, :, 0] == 0
            rows, columns = gone.any(1).sum(), gone.any(0).sum()
            assert gone.sum() == rows * columns
            sizes |= {int(rows), int(columns)}
            reference = larger(image, np.random.default_rng(seed))[:, :, 0] == 0
            reference_sizes |= {int(reference.any(1).sum())}
        assert max(sizes) == length
        assert min(sizes) >= length // 2
        assert max(reference_sizes) == 2 * (length // 2) + 1
    drawn = build("Cutout", length=8, fill_value="none")(image, np.random.default_rng(1))
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) == 2


@pytest.mark.parametrize(
    "operation",
    [("Cutout", {"length": 9}), ("HideAndSeek", {}), ("GridMask", {"d1": 8, "d2": 12, "rotate": 90})],
    ids=lambda value: value[0],
)
def test_hiding_in_either_layout(operation: tuple[str, dict[str, Any]], picture: np.ndarray) -> None:
    hide = build(operation[0], **operation[1])
    image = picture.astype(np.float32) + 1
    changed = 0
    for seed in range(20):
        last = hide(image, np.random.default_rng(seed))
        first = hide(np.ascontiguousarray(image.transpose(2, 0, 1)), np.random.default_rng(seed))
        assert np.array_equal(first.transpose(1, 2, 0), last)
        assert ((last == image) | (last == 0)).all()
        changed += bool((last == 0).any())
    assert changed > 10


def test_the_mesh_has_its_share_of_bars() -> None:
    mesh = build("GridMask", d1=10, d2=11, ratio=0.3).mask(100, 100, np.random.default_rng(0))
    assert mesh.mean() == pytest.approx(0.7**2)  # 3 of 10 rows and columns are bars
    turned = build("GridMask", d1=10, d2=11, ratio=0.3, mode=1).mask(100, 100, np.random.default_rng(0))
    assert np.array_equal(turned, 1 - mesh)
    assert build("GridMask", reference_behaviour=True).prob == 0


def test_light_against_the_formula() -> None:
    image = np.full((2, 2, 3), 100, np.uint8)
    lit = build("PCALighting", alphastd=0.5)
    a = np.random.default_rng(4).normal(0, 0.5, 3)
    vectors = [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
    values = [0.2175, 0.0188, 0.0045]
    shift = [sum(vectors[c][k] * a[k] * values[k] for k in range(3)) for c in range(3)]
    result = lit(image, np.random.default_rng(4))
    assert result[0, 0].tolist() == [round(100 + 255 * s) for s in shift]
    as_there = build("PCALighting", alphastd=0.5, reference_behaviour=True)(image, np.random.default_rng(4))
    np.testing.assert_allclose(as_there[0, 0], [100 + s for s in shift], rtol=1e-6)


def test_the_part_that_is_kept_stays_in_its_place(picture: np.ndarray) -> None:
    keep = build("CropWithPadding", prob=1, padding_num=7, scale=[0.2, 0.6], size=[9, 9])
    for seed in range(20):
        rng = np.random.default_rng(seed)
        rng.random()
        top, left, height, width = keep.region(64, 48, rng)
        expected = np.full_like(picture, 7)
        expected[top : top + height, left : left + width] = picture[top : top + height, left : left + width]
        assert np.array_equal(keep(picture, np.random.default_rng(seed)), expected)


def test_lower_resolution_keeps_proportions() -> None:
    wide = np.zeros((20, 80, 3), np.uint8)
    wide[:, ::2] = 255
    worse = build("RandomInterpolationAugment", prob=1)
    assert all(worse(wide, np.random.default_rng(seed)).shape == wide.shape for seed in range(20))
    tiny = np.full((1, 1, 3), 5, np.uint8)
    assert np.array_equal(worse(tiny, np.random.default_rng(0)), tiny)


def test_blur_keeps_a_flat_image_and_loses_detail(picture: np.ndarray) -> None:
    blur = build("BlurImage", prob=1)
    flat = np.full((20, 20, 3), 90, np.uint8)
    rough = np.random.default_rng(0).integers(0, 256, (30, 30, 3), dtype=np.uint8)
    for seed in range(20):
        assert np.array_equal(blur(flat, np.random.default_rng(seed)), flat)
        assert blur(rough, np.random.default_rng(seed)).std() < rough.std()
        assert blur.line(np.random.default_rng(seed)).sum() == pytest.approx(1)


def test_apply_does_all_or_nothing(picture: np.ndarray) -> None:
    steps = [{"RandFlipImage": {"flip_code": 1}}, {"Pad": {"padding": 1}}]
    both = build("RandomApply", p=0.5, transforms=steps)
    shapes = [both(picture, np.random.default_rng(seed)).shape for seed in range(200)]
    assert set(shapes) == {picture.shape, (66, 50, 3)}
    assert 60 < shapes.count(picture.shape) < 140
