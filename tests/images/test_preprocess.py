"""The preprocessing of a model: the chain, its checks, and its way through JSON."""

from __future__ import annotations

import io
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from lookalike.core.component import Place, Section, SectionList
from lookalike.core.errors import BrokenImage, UserError
from lookalike.images import Preprocess

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
CHAIN: list[Any] = [
    {"DecodeImage": {"to_rgb": True, "channel_first": False}},
    {"ResizeImage": {"size": [20, 16], "return_numpy": False, "interpolation": "bilinear", "backend": "cv2"}},
    {"NormalizeImage": {"scale": 0.00392157, "mean": MEAN, "std": STD, "order": ""}},
    {"ToCHWImage": None},
]  # fmt: skip


def naive(picture: np.ndarray) -> np.ndarray:
    resized = cv2.resize(picture, (20, 16)).astype(np.float32)
    normal = (resized * np.float32(0.00392157) - np.float32(MEAN)) / np.float32(STD)
    return normal.transpose(2, 0, 1)


def test_every_kind_of_source_gives_the_same(tmp_path: Path, picture: np.ndarray) -> None:
    preprocess = Preprocess(CHAIN)
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    path = tmp_path / "ein bild.png"
    path.write_bytes(file.getvalue())
    for source in (picture, Image.fromarray(picture), file.getvalue(), path, str(path)):
        result = preprocess(source)
        assert result.shape == preprocess.image_shape == (3, 16, 20)
        assert result.dtype == np.float32
        assert result.flags.c_contiguous
        np.testing.assert_array_equal(result, naive(picture))


def test_decoding_and_channels_first_are_implied(picture: np.ndarray) -> None:
    np.testing.assert_array_equal(Preprocess(CHAIN[1:3])(picture), naive(picture))
    np.testing.assert_array_equal(Preprocess([])(picture), picture.transpose(2, 0, 1).astype(np.float32))
    only_scale = Preprocess([{"NormalizeImage": {"mean": [0], "std": [1], "order": "hwc"}}])
    np.testing.assert_allclose(Preprocess(["ToTensor"])(picture), only_scale(picture), atol=1e-7)


def test_channels_may_go_first_before_normalising(picture: np.ndarray) -> None:
    early = [
        CHAIN[1],
        {"ToCHWImage": None},
        {"NormalizeImage": {**CHAIN[2]["NormalizeImage"], "order": "chw"}},
    ]
    np.testing.assert_array_equal(Preprocess(early)(picture), naive(picture))
    tensor = [
        CHAIN[1],
        {"ToTensor": {}},
        {"Normalize": {"mean": MEAN, "std": STD}},
    ]
    np.testing.assert_allclose(Preprocess(tensor)(picture), naive(picture), atol=1e-5)


def test_blue_first_and_four_channels(picture: np.ndarray) -> None:
    swapped = Preprocess([{"DecodeImage": {"to_rgb": False}}])(picture)
    np.testing.assert_array_equal(swapped, picture[..., ::-1].transpose(2, 0, 1))
    four = Preprocess([CHAIN[1], {"NormalizeImage": {"order": "hwc", "channel_num": 4, "output_fp16": True}}])
    assert four(picture).shape == four.image_shape == (4, 16, 20)
    assert four(picture).dtype == np.float32


def test_the_shape_is_known_where_it_is_fixed() -> None:
    assert Preprocess([{"ResizeImage": {"resize_short": 50}}]).image_shape is None
    assert Preprocess(
        [{"ResizeImage": {"resize_short": 50}}, {"CropImage": {"size": [40, 30]}}]
    ).image_shape == (3, 30, 40)
    assert Preprocess([{"PadSquare": None}, {"ResizeImage": {"size": 32}}]).image_shape == (3, 32, 32)
    assert Preprocess([{"ResizeImage": {"size": 32}}, {"Pad": {"padding": [1, 2]}}]).image_shape == (
        3,
        36,
        34,
    )


def test_json_gives_the_same_chain_again(picture: np.ndarray) -> None:
    chain = [
        *CHAIN[:2],
        {"PadSquare": {"fill": [1, 2, 3]}},
        {"CropImage": {"size": 30}},
        {"NormalizeImage": {"scale": "1.0/255.0", "mean": [0.1 + 0.2, 1 / 3, 2 / 3], "order": "hwc"}},
    ]
    first = Preprocess(chain, reference_behaviour=True)
    text = json.dumps(first.to_json())
    again = Preprocess.from_json(json.loads(text))
    assert again == first
    assert json.dumps(again.to_json()) == text
    assert again.canonical() == first.canonical()
    assert again.fingerprint() == first.fingerprint()
    assert again.image_shape == first.image_shape
    np.testing.assert_array_equal(again(picture), first(picture))
    written = first.to_json()
    assert written[0] == {"version": 1}
    assert written[-1]["NormalizeImage"]["scale"] == 1 / 255
    assert written[-1]["NormalizeImage"]["mean"][0] == 0.1 + 0.2
    assert written[4]["CropImage"] == {"size": 30, "reference_behaviour": True}


def test_fingerprints_tell_chains_apart() -> None:
    other = [*CHAIN[:2], {"NormalizeImage": {**CHAIN[2]["NormalizeImage"], "scale": 1 / 255}}, CHAIN[3]]
    assert Preprocess(CHAIN).fingerprint() != Preprocess(other).fingerprint()


def test_a_chain_travels_to_another_process(picture: np.ndarray) -> None:
    preprocess = pickle.loads(pickle.dumps(Preprocess(CHAIN)))
    np.testing.assert_array_equal(preprocess(picture), naive(picture))


@pytest.mark.parametrize(
    ("chain", "message"),
    [
        ([{"RandFlipImage": {"flip_code": 1}}], "transform_ops[0].RandFlipImage: RandFlipImage is random"),
        (["ToCHWImage", {"CropImage": {"size": 8}}], "CropImage stands after the channels went"),
        ([{"NormalizeImage": {}}], "ToCHWImage comes later or not at all: write order: hwc"),
        ([{"Normalize": {}}], "write data_format: HWC"),
        ([{"ToCHWImage": {}}, {"ToCHWImage": {}}], "ToCHWImage stands after the channels went first"),
        ([{"CropImage": {"size": 8}}, {"DecodeImage": {}}], "DecodeImage can only be the first"),
        ([{"ResizeImage": {}}], "transform_ops[0].ResizeImage: ResizeImage needs 'size' or 'resize_short'"),
        ([{"ResizeImag": {"size": 3}}], "unknown operation 'ResizeImag', did you mean 'ResizeImage'"),
        ([{"ResizeImage": {"sise": 3}}], "unknown argument 'sise', did you mean 'size'"),
        ([3], "expected a component"),
    ],
)  # fmt: skip
def test_wrong_chains(chain: list[Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        Preprocess(chain)
    assert message in str(caught.value)


def test_errors_name_the_line_of_the_recipe() -> None:
    step = Section(
        {"ResizeImage": Section({}, Place("T[0].ResizeImage", "a.yaml", 7))}, Place("T[0]", "a.yaml", 7)
    )
    step.lines["ResizeImage"] = 7
    with pytest.raises(UserError, match=r"^a\.yaml:7: T\[0\]\.ResizeImage: ResizeImage needs"):
        Preprocess(SectionList([step]))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([{"version": 2}], "written in version 2"),
        ({"a": 1}, "must be a list"),
        ([{"version": "x"}], "version 'x'"),
    ],
)
def test_foreign_json_is_refused(value: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Preprocess.from_json(value)


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    with pytest.raises(BrokenImage, match=r"none\.jpg: the file does not exist"):
        Preprocess(CHAIN)(tmp_path / "none.jpg")


def test_the_room_needs_no_torch() -> None:
    code = "import sys; sys.modules['torch'] = None; import lookalike.images; print('fine')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "fine\n", done.stderr
