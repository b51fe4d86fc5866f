"""Operations against naive NumPy, and their sentences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lookalike.core.errors import UserError
from lookalike.images.operations import RANDOM_OPERATIONS, Operation, operations

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]

MINIMAL: dict[str, dict[str, Any]] = {
    "ResizeImage": {"size": [20, 10]},
    "Resize": {"size": [10, 20]},
    "CropImage": {"size": 8},
    "CenterCrop": {"size": 8},
    "CropImageAtRatio": {"size": 8, "pad": 2},
    "Pad": {"padding": 2},
    "PaddleVisionPad": {"padding": 2},
    "Padv2": {"size": 64},
    "NormalizeImage": {"order": "hwc"},
    "Normalize": {"data_format": "HWC", "mean": [1, 2, 3], "std": 2},
}


def build(name: str, **arguments: Any) -> Any:
    return operations.build({name: arguments})


@pytest.mark.parametrize("entry", list(operations), ids=lambda entry: entry.name)
def test_every_operation_keeps_its_word(entry: Any, picture: np.ndarray) -> None:
    """It documents itself, builds again from its arguments, leaves its input alone, knows its size."""
    assert entry.build.__doc__
    operation = build(entry.name, **MINIMAL.get(entry.name, {}))
    assert isinstance(operation, Operation)
    before = picture.copy()
    result = operation(picture)
    np.testing.assert_array_equal(picture, before)
    again = build(entry.name, **operation.arguments())
    assert again.arguments() == operation.arguments()
    np.testing.assert_array_equal(again(picture), result)
    height, width = result.shape[1:] if operation.gives == "chw" else result.shape[:2]
    assert operation.output_size((36, 24)) == (width, height)
    assert entry.name in repr(operation)


def test_resize_short_keeps_proportions(picture: np.ndarray) -> None:
    assert build("ResizeImage", resize_short=48)(picture).shape == (48, 72, 3)
    assert build("ResizeImage", resize_short=11)(picture).shape == (11, round(36 * 11 / 24), 3)
    assert build("Resize", size=12)(picture.transpose(1, 0, 2)).shape == (18, 12, 3)


def test_area_averages(picture: np.ndarray) -> None:
    blocks = picture.reshape(12, 2, 18, 2, 3).mean(axis=(1, 3))
    small = build("ResizeImage", size=[18, 12], interpolation="area")(picture)
    np.testing.assert_allclose(small, blocks, atol=0.51)
    boxed = build("ResizeImage", size=[18, 12], interpolation="box", backend="pil")(picture)
    np.testing.assert_allclose(boxed, blocks, atol=1.01)  # Pillow rounds after each of the two axes


@pytest.mark.parametrize("backend", ["cv2", "pil"])
def test_resize_of_other_kinds_of_image(picture: np.ndarray, backend: str) -> None:
    resize = build("ResizeImage", size=[18, 12], interpolation="bicubic", backend=backend)
    real = resize(picture.astype(np.float32))
    assert real.dtype == np.float32
    np.testing.assert_allclose(real.clip(0, 255), resize(picture), atol=1.01)
    assert resize(picture[..., :1]).shape == (12, 18, 1)
    assert resize(picture[:12, :18]) is not None
    np.testing.assert_array_equal(resize(picture[:12, :18]), picture[:12, :18])


def test_centre_crop(picture: np.ndarray) -> None:
    np.testing.assert_array_equal(build("CropImage", size=[11, 7])(picture), picture[8:15, 12:23])
    np.testing.assert_array_equal(build("CenterCrop", size=[7, 11])(picture), picture[8:15, 12:23])


@pytest.mark.parametrize("name", ["CropImage", "CenterCrop"])
@pytest.mark.parametrize("side", [25, 30, 40])
def test_a_crop_larger_than_the_image_is_laid_on_black(picture: np.ndarray, name: str, side: int) -> None:
    result = build(name, size=side)(picture)
    assert result.shape == (side, side, 3)
    canvas = np.zeros((100, 100, 3), np.uint8)
    canvas[38:62, 32:68] = picture
    tops = [38 + round((24 - side) / 2), 38 + (24 - side) // 2]
    lefts = [32 + round((36 - side) / 2), 32 + (36 - side) // 2]
    which = 0 if name == "CenterCrop" else 1
    top, left = tops[which], lefts[which]
    np.testing.assert_array_equal(result, canvas[top : top + side, left : left + side])


def test_crop_at_ratio(picture: np.ndarray) -> None:
    same = build("CropImageAtRatio", size=12, pad=12)(picture)
    np.testing.assert_array_equal(same, picture[6:18, 12:24])


@pytest.mark.parametrize(
    ("mode", "numpy_mode"),
    [("constant", "constant"), ("edge", "edge"), ("reflect", "reflect"), ("symmetric", "symmetric")],
)
@pytest.mark.parametrize("padding", [3, [2, 5], [1, 2, 3, 4]])
def test_pad(picture: np.ndarray, mode: str, numpy_mode: Any, padding: Any) -> None:
    left, top, right, bottom = {int: lambda: [padding] * 4, list: lambda: (padding * 2)[:4]}[type(padding)]()
    widths = ((top, bottom), (left, right), (0, 0))
    expected = np.pad(picture, widths, mode=numpy_mode)
    for backend in ("cv2", "pil"):
        result = build("Pad", padding=padding, padding_mode=mode, backend=backend)(picture)
        np.testing.assert_array_equal(result, expected)
    reference = operations.build(
        {"Pad": {"padding": padding, "padding_mode": mode}}, reference_behaviour=True
    )
    np.testing.assert_array_equal(reference(picture), np.pad(picture, widths))
    of_paddle = {"Pad_paddle_vision": {"padding": padding, "padding_mode": mode}}
    reference = operations.build(of_paddle, reference_behaviour=True)
    np.testing.assert_array_equal(reference(picture), expected)


def test_pad_fills_every_channel(picture: np.ndarray) -> None:
    assert build("Pad", padding=1, fill=7)(picture)[0, 0].tolist() == [7, 7, 7]
    assert build("Pad", padding=1, fill=[1, 2, 3])(picture)[0, 0].tolist() == [1, 2, 3]


def test_canvas(picture: np.ndarray) -> None:
    result = build("Padv2", size_divisor=32)(picture)
    assert result.shape == (32, 64, 3)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result[:24, :36], picture)
    placed = build("Padv2", size=[40, 30], pad_mode=-1, offsets=[3, 5], fill_value=0)(picture)
    np.testing.assert_array_equal(placed[5:29, 3:39], picture)
    assert placed.sum() == picture.sum()
    with pytest.raises(UserError, match="36x24 does not fit a canvas of 30x30"):
        build("Padv2", size=30)(picture)


def test_pad_square(picture: np.ndarray) -> None:
    result = build("PadSquare")(picture)
    assert result.shape == (36, 36, 3)
    np.testing.assert_array_equal(result[6:30], picture)
    assert (result[:6] == 255).all()
    assert (result[30:] == 255).all()
    assert build("PadSquare", fill=[1, 2, 3])(picture[:23])[0, 0].tolist() == [1, 2, 3]


@pytest.mark.parametrize("order", ["hwc", "", "chw"])
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_normalise_is_the_formula_to_the_last_bit(picture: np.ndarray, order: str, kind: Any) -> None:
    image = picture.astype(kind)
    scale, mean, std = np.float32(1 / 255), np.float32(MEAN), np.float32(STD)
    expected = (image.astype(np.float32) * scale - mean) / std
    if order == "chw":
        image, expected = image.transpose(2, 0, 1), expected.transpose(2, 0, 1)
    operation = build("NormalizeImage", scale="1.0/255.0", order=order)
    result = operation(image)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, expected)
    if order != "chw":
        np.testing.assert_array_equal(operation.to_planes(image), expected.transpose(2, 0, 1))


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 3)])
def test_normalise_of_tiny_images(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    operation = build("NormalizeImage", order="hwc")
    expected = ((image * np.float32(1 / 255) - np.float32(MEAN)) / np.float32(STD)).astype(np.float32)
    np.testing.assert_allclose(operation(image), expected, atol=1e-6)
    np.testing.assert_allclose(operation.to_planes(image), expected.transpose(2, 0, 1), atol=1e-6)
    turned = build("NormalizeImage")(np.ascontiguousarray(image.transpose(2, 0, 1)))
    np.testing.assert_allclose(turned, expected.transpose(2, 0, 1), atol=1e-6)
    np.testing.assert_allclose(build("ToTensor")(image), image.transpose(2, 0, 1) / 255, atol=1e-7)


def test_four_channels_and_half_precision(picture: np.ndarray) -> None:
    operation = build("NormalizeImage", order="hwc", channel_num=4, output_fp16=True)
    result = operation(picture)
    assert result.shape == (24, 36, 4)
    assert result.dtype == np.float16
    assert (result[..., 3] == 0).all()
    np.testing.assert_array_equal(operation.to_planes(picture), result.transpose(2, 0, 1))


def test_one_mean_for_all_channels(picture: np.ndarray) -> None:
    one = build("NormalizeImage", mean=[0.5], std=["1/4"], order="hwc")
    np.testing.assert_allclose(one(picture), (picture / 255 - 0.5) * 4, atol=1e-6)


def test_to_tensor_and_normalise(picture: np.ndarray) -> None:
    planes = build("ToTensor")(picture)
    np.testing.assert_allclose(planes, picture.transpose(2, 0, 1) / 255, atol=1e-7)
    assert build("ToTensor", data_format="HWC")(picture).shape == (24, 36, 3)
    np.testing.assert_array_equal(build("ToTensor")(picture.astype(np.float32)), picture.transpose(2, 0, 1))
    result = build("Normalize", mean=MEAN, std=STD)(planes)
    expected = (picture.transpose(2, 0, 1) / 255 - np.reshape(MEAN, (3, 1, 1))) / np.reshape(STD, (3, 1, 1))
    np.testing.assert_allclose(result, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("ResizeImage", {}, "ResizeImage needs 'size' or 'resize_short'"),
        ("ResizeImage", {"size": [1, 2, 3]}, "size must be a positive number or two of them"),
        ("ResizeImage", {"size": 8, "interpolation": "random"}, "must be"),
        ("ResizeImage", {"size": 8, "interpolation": "box"}, "'box' does not exist with backend cv2"),
        (
            "Resize",
            {"size": 8, "interpolation": "area", "backend": "pil"},
            "'area' does not exist with backend pil",
        ),
        ("CropImage", {"size": 0}, "size must be a positive number"),
        ("CropImage", {}, "needs 'size'"),
        ("Pad", {"padding": [1, 2, 3]}, "padding must be 1, 2 or 4 numbers"),
        ("Padv2", {"pad_mode": -1}, "pad_mode -1 needs offsets"),
        ("NormalizeImage", {"scale": "__import__('os')"}, "only numbers, "),
        ("NormalizeImage", {"std": [1, 0, 1]}, "a standard deviation of 0"),
        (
            "NormalizeImage",
            {"mean": [1, 2]},
            "mean and std must have 3 values each (or one for all channels), got 2 and 3",
        ),
        ("Normalize", {"mean": [1, 2], "std": [1, 2, 3]}, "2 means but 3 standard deviations"),
    ],
)
def test_wrong_arguments(name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        build(name, **arguments)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("NormalizeImage", {}, "with order: chw the image must have 3 channels on axis 0"),
        ("Normalize", {"mean": MEAN}, "set data_format, or put ToTensor before it"),
        ("Pad", {"padding": 1, "fill": [1, 2]}, "Pad: fill has 2 values but the image has 3 channels"),
    ],
)
def test_wrong_images(picture: np.ndarray, name: str, arguments: dict[str, Any], message: str) -> None:
    operation = build(name, **arguments)
    with pytest.raises(UserError) as caught:
        operation(picture)
    assert message in str(caught.value)


def test_no_random_operation_is_registered_here() -> None:
    assert not RANDOM_OPERATIONS & set(operations.names())
