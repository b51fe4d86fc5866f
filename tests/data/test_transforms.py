"""Chains: mixing deterministic and random operations, layouts, and messages."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from lookalike.core.component import Place, Section, SectionList
from lookalike.core.errors import BrokenImage, UserError
from lookalike.data import build_transforms
from lookalike.images import Preprocess
from tests.data.pictures import NORMALISE, RANDOM_OPS


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    rng = np.random.default_rng(0)
    return cv2.resize(rng.integers(0, 256, (6, 5, 3), dtype=np.uint8), (48, 64))


def test_every_kind_of_source(picture: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), picture[:, :, ::-1])
    for ops in (RANDOM_OPS, [{"DecodeImage": {"to_rgb": True, "channel_first": False}}, *RANDOM_OPS]):
        transforms = build_transforms(ops)
        results = [
            transforms(source, np.random.default_rng(1))
            for source in (path, str(path), path.read_bytes(), picture, Image.fromarray(picture))
        ]
        for result in results:
            assert np.array_equal(result, results[0])
        assert results[0].shape == (3, 16, 16)
        assert results[0].dtype == np.float32
        assert results[0].flags.c_contiguous


def test_a_chain_without_random_operations_is_the_preprocessing(picture: np.ndarray) -> None:
    ops = [{"ResizeImage": {"size": [20, 24]}}, NORMALISE, {"ToCHWImage": None}]
    transforms = build_transforms(ops)
    assert not transforms.is_random
    assert np.array_equal(transforms(picture), Preprocess(ops)(picture))


@pytest.mark.parametrize("last", [[], [{"ToCHWImage": None}]])
def test_erasing_after_the_normalisation_is_the_same_in_one_pass(
    picture: np.ndarray, last: list[Any]
) -> None:
    ops = [NORMALISE, {"RandomErasing": {"EPSILON": 1, "mode": "pixel"}}]
    fused = build_transforms([*ops, *last])(picture, np.random.default_rng(3))
    erased = build_transforms(ops)
    image = erased.steps[0].apply(picture)
    normalise = (image / np.float32(255) - np.float32(0.5)) / np.float32(0.5)
    naive = erased.steps[2].apply(normalise.astype(np.float32), np.random.default_rng(3))
    np.testing.assert_allclose(fused, naive.transpose(2, 0, 1), atol=1e-6)


def test_channel_first_chains(picture: np.ndarray) -> None:
    ops = [
        {"RandomHorizontalFlip": {"prob": 0.5}},
        {"ToTensor": None},
        {"Normalize": {"mean": [0.5] * 3, "std": [0.5] * 3}},
        {"RandomErasing": {"EPSILON": 1, "mean": [7, 8, 9]}},
    ]
    result = build_transforms(ops)(picture, np.random.default_rng(0))
    assert result.shape == (3, 64, 48)
    assert [set(np.unique(plane[plane > 2])) for plane in result] == [{7}, {8}, {9}]


def test_without_normalisation_the_pixels_stay(picture: np.ndarray) -> None:
    assert np.array_equal(build_transforms([])(picture), picture.transpose(2, 0, 1).astype(np.float32))


def test_the_missing_row_of_the_reference(picture: np.ndarray) -> None:
    crop = {"RandCropImageV2": {"size": [40, 60]}}
    pillow = {"ResizeImage": {"size": [48, 64], "return_numpy": False, "backend": "pil"}}
    rng = np.random.default_rng(0)

    def sizes(ops: list[Any], reference: bool) -> set[tuple[int, ...]]:
        transforms = build_transforms(ops, reference_behaviour=reference)
        return {transforms(picture, rng).shape[1:] for _ in range(60)}

    assert sizes([crop], False) == {(60, 40)}
    assert sizes([crop], True) == {(60, 40), (59, 40), (60, 39), (59, 39)}
    assert sizes([pillow, crop], True) == {(60, 40)}, "Pillow fills with black"


def test_an_unknown_operation_names_the_nearest_of_both_kinds() -> None:
    section = Section(
        {"RandCropImag": {"size": 8}}, Place("DataLoader.Train.dataset.transform_ops[0]", "a.yaml", 7)
    )
    with pytest.raises(
        UserError, match=r"^a.yaml:7: .*unknown operation 'RandCropImag', did you mean 'RandCropImage'"
    ):
        build_transforms(SectionList([section]))
    with pytest.raises(UserError, match="did you mean 'ResizeImage'"):
        build_transforms([{"ResizImage": {"size": 8}}])


def test_messages_carry_their_place() -> None:
    section = Section({"RandCropImage": {"size": 0}}, Place("transform_ops[0]", "a.yaml", 7))
    with pytest.raises(
        UserError, match=r"^a.yaml:7: transform_ops\[0\].RandCropImage: size must be positive"
    ):
        build_transforms([section])


@pytest.mark.parametrize(
    ("ops", "message"),
    [
        ([{"ToTensor": None}, {"RandFlipImage": None}], "RandFlipImage stands after the channels went first"),
        ([{"NormalizeImage": {"order": "chw"}}], "write order: hwc"),
        ([{"RandFlipImage": None}, {"DecodeImage": None}], "DecodeImage can only be the first"),
    ],
)
def test_operations_out_of_order(ops: list[Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_transforms(ops)


def test_a_broken_source() -> None:
    with pytest.raises(BrokenImage):
        build_transforms([])(b"not an image")


def test_chains_can_be_sent_to_another_process(picture: np.ndarray) -> None:
    transforms = build_transforms(RANDOM_OPS)
    copy = pickle.loads(pickle.dumps(transforms))
    assert np.array_equal(
        copy(picture, np.random.default_rng(0)), transforms(picture, np.random.default_rng(0))
    )


def test_an_interpolation_is_drawn_for_each_image() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)

    def resized(interpolation: str, seed: int) -> np.ndarray:
        ops = [{"ResizeImage": {"size": 16, "interpolation": interpolation}}]
        return build_transforms(ops)(picture, np.random.default_rng(seed))

    plain = [resized(name, 0) for name in ("bilinear", "bicubic")]
    drawn = [resized("random", seed) for seed in range(20)]
    seen = {next(i for i, one in enumerate(plain) if np.array_equal(one, each)) for each in drawn}
    assert seen == {0, 1}
