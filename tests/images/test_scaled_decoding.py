"""`DecodeImage: {scaled: true}`: large JPEG files are decoded at a part of their size, everywhere alike."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from lookalike.core.errors import UserError
from lookalike.data.image_dataset import ImageDataset
from lookalike.data.multi_scale import MultiScaleDataset, SizedChains
from lookalike.data.transforms import build_transforms
from lookalike.images import Preprocess, Records, decode_image
from lookalike.images.decode import reduction

SCALED: dict[str, Any] = {"DecodeImage": {"scaled": True}}
NORMALISE: dict[str, Any] = {"NormalizeImage": {"order": ""}}


def resized(size: Any, **arguments: Any) -> list[Any]:
    return [SCALED, {"ResizeImage": {"size": size, **arguments}}, NORMALISE]


@pytest.fixture(scope="module")
def smooth() -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (16, 20, 3), dtype=np.uint8)
    return cv2.resize(noise, (400, 320), interpolation=cv2.INTER_CUBIC)


def jpeg(picture: np.ndarray, orientation: int = 1) -> bytes:
    file, tags = io.BytesIO(), Image.Exif()
    tags[0x0112] = orientation
    Image.fromarray(picture).save(file, "JPEG", quality=95, exif=tags)
    return file.getvalue()


@pytest.mark.parametrize(
    ("size", "wanted", "part"),
    [
        ((4000, 3000), (224, 224), 8),
        ((1792, 1792), (224, 224), 8),
        ((1792, 1791), (224, 224), 4),
        ((448, 3000), (224, 224), 2),
        ((447, 3000), (224, 224), 1),
        ((100, 100), (224, 224), 1),
        ((1100, 2100), (128, 256), 4),  # turned by its EXIF tag, 1100 would have to serve for 256
        ((2100, 1100), (128, 256), 4),
    ],
)
def test_never_fewer_pixels_than_are_wanted(
    size: tuple[int, int], wanted: tuple[int, int], part: int
) -> None:
    assert reduction(size, lambda _: wanted) == part


@pytest.mark.parametrize(
    ("side", "shape"), [(40, (40, 50)), (80, (80, 100)), (160, (160, 200)), (161, (320, 400))]
)
def test_the_part_that_is_decoded(smooth: np.ndarray, side: int, shape: tuple[int, int]) -> None:
    data = jpeg(smooth)
    preprocess = Preprocess(resized([side, side]))
    read = preprocess.operations[0].read(data)  # type: ignore[attr-defined]
    assert read.shape == (*shape, 3)
    # libjpeg averages over the pixels of each part
    averaged = cv2.resize(decode_image(data), shape[::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(read.astype(int) - averaged).mean() < 1.5
    np.testing.assert_array_equal(preprocess(data), preprocess(read))


def test_other_files_and_pictures_in_memory_are_decoded_in_full(smooth: np.ndarray) -> None:
    scaled, full = Preprocess(resized([30, 30])), Preprocess(resized([30, 30])[1:])
    file = io.BytesIO()
    Image.fromarray(smooth).save(file, "PNG")
    np.testing.assert_array_equal(scaled(file.getvalue()), full(file.getvalue()))
    np.testing.assert_array_equal(scaled(smooth), full(smooth))
    assert not np.array_equal(scaled(jpeg(smooth)), full(jpeg(smooth)))


def test_the_picture_is_turned_upright(smooth: np.ndarray) -> None:
    preprocess = Preprocess(resized([60, 40]))
    turned = preprocess(jpeg(np.rot90(smooth).copy(), orientation=6))
    assert turned.shape == (3, 40, 60)
    assert np.abs(turned - preprocess(jpeg(smooth))).mean() < 0.05


def test_what_may_stand_before_the_resize(smooth: np.ndarray) -> None:
    """The square is 400 wide, so 100 is a quarter of it, though 320 is less than four times 100."""
    square = Preprocess([SCALED, {"PadSquare": {}}, {"ResizeImage": {"size": 100}}, NORMALISE])
    assert square.operations[0].read(jpeg(smooth)).shape == (80, 100, 3)  # type: ignore[attr-defined]
    short = Preprocess([SCALED, {"ResizeImage": {"resize_short": 80}}, {"CropImage": {"size": 64}}])
    assert short.operations[0].read(jpeg(smooth)).shape == (80, 100, 3)  # type: ignore[attr-defined]
    ratio = Preprocess([SCALED, {"CropImageAtRatio": {"size": 64, "pad": 17}}])
    assert ratio.operations[0].read(jpeg(smooth)).shape == (160, 200, 3)  # type: ignore[attr-defined]


def test_what_may_not(smooth: np.ndarray) -> None:
    for following, told in (
        (
            [{"CropImage": {"size": 64}}, {"ResizeImage": {"size": 32}}],
            "right after it, and CropImage is none",
        ),
        ([NORMALISE], "and NormalizeImage is none"),
        ([], "needs an operation that resizes after it"),
    ):
        for build in (Preprocess, build_transforms):
            with pytest.raises(UserError, match=told):
                build([SCALED, *following])
    with pytest.raises(UserError, match="scaled needs backend: cv2"):
        Preprocess([{"DecodeImage": {"scaled": True, "backend": "pil"}}, {"ResizeImage": {"size": 8}}])


def test_training_and_a_model_folder_do_the_same(smooth: np.ndarray, tmp_path: Path) -> None:
    file = tmp_path / "a.jpg"
    file.write_bytes(jpeg(smooth))
    operations = resized([30, 30])
    deployed = Preprocess.from_json(Preprocess(operations).to_json())
    assert deployed == Preprocess(operations)
    np.testing.assert_array_equal(deployed(file), build_transforms(operations)(file))
    np.testing.assert_array_equal(
        deployed.split().pixels(file), Preprocess(operations[:2]).split().pixels(file)
    )


@pytest.mark.parametrize("name", ["RandCropImage", "RandomResizedCrop"])
def test_no_random_crop_is_smaller_than_what_it_is_resized_to(name: str) -> None:
    """The narrowest part that may be drawn of the reduced picture is still as large as the crop, where it is
    in the whole one.
    """
    crop = build_transforms([{name: {"size": 32, "scale": [0.1, 1.0]}}, NORMALISE]).steps[1].apply
    rng = np.random.default_rng(0)
    for width, height in ((2000, 1500), (500, 900), (2400, 300)):
        part = reduction((width, height), crop.wanted_size)  # type: ignore[attr-defined]
        assert part > 1
        regions = [crop.region(height // part, width // part, rng) for _ in range(300)]  # type: ignore[attr-defined]
        assert min(min(region[2:]) for region in regions) >= 31  # it is rounded down


def test_data_sets_decode_as_the_preprocessing_does(smooth: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(smooth))
    records = Records([str(tmp_path / "a.jpg")], np.zeros(1, np.int64))
    transforms = build_transforms(resized([40, 40]))
    for cache in (None, "ram"):
        data = ImageDataset(records, transforms, cache=cache)  # type: ignore[arg-type]
        data.fill_cache()
        assert data.picture(0).shape == (40, 50, 3)
        expected = Preprocess(resized([40, 40]))(tmp_path / "a.jpg")
        np.testing.assert_array_equal(data[0]["image"].numpy(), expected)
    boxed = replace(records, boxes=np.array([[100, 100, 300, 200]]))
    # boxes are counted in pixels of the file
    np.testing.assert_array_equal(
        ImageDataset(boxed, transforms).picture(0), decode_image(tmp_path / "a.jpg")[100:200, 100:300]
    )
    with pytest.raises(UserError, match="leave `scaled` out"):
        MultiScaleDataset(records, transforms, SizedChains(resized([40, 40])))
