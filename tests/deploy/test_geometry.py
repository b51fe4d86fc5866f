"""Resizing in a graph gives the pixels of OpenCV, in every runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from lookalike import Embedder, ModelFolder, Recipe
from lookalike.core.errors import UserError
from lookalike.deploy.export import ExportOptions, ExportResult, export_model
from lookalike.deploy.export.graph import INPUT, OUTPUT, put_before
from lookalike.deploy.geometry import Geometry
from lookalike.deploy.model_folder import GRAPH
from lookalike.deploy.preprocessing import recipe_preprocess
from lookalike.deploy.runtimes.openvino_runtime import OpenVinoRuntime
from lookalike.deploy.runtimes.runtime import OnnxRuntime
from lookalike.images import Preprocess
from lookalike.model import RecModel, build_rec_model
from tests.deploy.test_web import here_and_there, needs_node
from tests.tiny import recipe_values

NORMALISE: dict[str, Any] = {"NormalizeImage": {"order": "hwc"}}

CHAINS: dict[str, list[Any]] = {
    "one size": [{"ResizeImage": {"size": [24, 40]}}],
    "short side and crop": [{"ResizeImage": {"resize_short": 36}}, {"CropImage": {"size": 32}}],
    "the other names": [{"Resize": {"size": 36}}, {"CenterCrop": {"size": [33, 31]}}],
    "crop beyond the picture": [{"CropImage": {"size": [64, 48]}}],
    "square": [{"PadSquare": {"fill": [9, 8, 7]}}, {"ResizeImage": {"size": 24}}],
    "middle": [{"CropImageAtRatio": {"size": 24, "pad": 3}}],
    "border": [{"ResizeImage": {"size": 24}}, {"Pad": {"padding": [1, 2, 3, 4], "fill": 200}}],
    "crop, resize, border, crop": [
        {"DecodeImage": {"to_rgb": False}},
        {"CenterCrop": {"size": [61, 20]}},
        {"Resize": {"size": [17, 50]}},
        {"Pad": {"padding": 5, "fill": [10, 20, 30]}},
        {"CropImage": {"size": 33}},
    ],
}
SIZES = ((44, 57), (57, 44), (20, 25), (24, 24), (48, 48), (80, 48), (1, 1), (7, 300), (301, 999))


def drawn(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height + width).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
def test_pixels_are_those_of_opencv(chain: list[Any]) -> None:
    preprocess = Preprocess([*chain, NORMALISE])
    geometry, pixels = Geometry(preprocess), preprocess.split().pixels
    for size in SIZES:
        image = drawn(*size)
        found = geometry(torch.from_numpy(np.stack([image, image[::-1].copy()])))
        assert found.dtype == torch.uint8
        assert np.array_equal(found[0], pixels(image)), size
        assert np.array_equal(found[1], pixels(image[::-1].copy())), size


def test_places_are_those_of_opencv_in_large_pictures() -> None:
    """Where OpenCV's own rounding of a place is much of a step of its weights."""
    preprocess = Preprocess([{"ResizeImage": {"size": [224, 3]}}, NORMALISE])
    geometry, pixels = Geometry(preprocess), preprocess.split().pixels
    for width in (2049, 4000, 9001):
        image = drawn(5, width)
        assert np.array_equal(geometry(torch.from_numpy(image[None]))[0], pixels(image)), width


def test_a_graph_behind_it_is_given_the_same_pixels(tmp_path: Path) -> None:
    """Whatever that graph is: it is not read, and its nodes may stand in any order."""
    steps = [{"PadSquare": {"fill": [9, 8, 7]}}, {"ResizeImage": {"resize_short": 36}}]
    preprocess = Preprocess([*steps, {"CropImage": {"size": [40, 31]}}, NORMALISE])
    taken, given = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UINT8, ["batch", 31, 40, 3])
        for name in (INPUT, OUTPUT)
    )
    nodes = [
        onnx.helper.make_node("Identity", ["between"], [OUTPUT]),
        onnx.helper.make_node("Identity", [INPUT], ["between"]),
    ]
    graph = onnx.helper.make_graph(nodes, "network", [taken], [given])
    opset = [onnx.helper.make_opsetid("", 20)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=10), tmp_path / GRAPH)
    put_before(Geometry(preprocess), tmp_path / GRAPH)
    runtimes = [OnnxRuntime(tmp_path / GRAPH), OpenVinoRuntime(tmp_path / GRAPH)]
    assert [each.input.shape for each in runtimes] == 2 * [(None, None, None, 3)]
    for size in SIZES:
        image = drawn(*size)
        for runtime in runtimes:
            found = runtime(np.stack([image[::-1], image]))[1]
            assert np.array_equal(found, preprocess.split().pixels(image)), (runtime, size)


@pytest.mark.parametrize(
    ("chain", "told"),
    [
        (
            [{"ResizeImage": {"size": 24, "interpolation": "area"}}],
            "ResizeImage itself: .* with area",
        ),
        ([{"ResizeImage": {"size": 24, "backend": "pil"}}], "ResizeImage itself: .* bilinear of pil"),
        ([{"Resize": {"size": 30}}, {"ResizeImage": {"size": 24}}], "itself: its Resize has resized it"),
        (
            [{"ResizeImage": {"size": 24}}, {"Pad": {"padding": 2, "padding_mode": "edge"}}],
            "Pad itself: padding_mode 'edge'",
        ),
        ([{"ResizeImage": {"resize_short": 24}}], "not of one size"),
        ([{"ResizeImage": {"size": 24}}, {"Padv2": {"size": 32}}], "Padv2 gives float32"),
    ],
)
def test_what_a_graph_cannot_do_is_told(chain: list[Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        Geometry(Preprocess([*chain, NORMALISE]))


def test_odd_strips_of_the_reference_are_refused_where_there_may_be_such() -> None:
    crop = [{"CropImage": {"size": 32}}, NORMALISE]
    with pytest.raises(UserError, match="strip of odd size"):
        Geometry(Preprocess(crop, reference_behaviour=True))
    enough = [{"ResizeImage": {"resize_short": 36}}, *crop]
    image, whole = drawn(50, 70), Preprocess(enough, reference_behaviour=True)
    assert np.array_equal(Geometry(whole)(torch.from_numpy(image[None]))[0], whole.split().pixels(image))


@pytest.fixture(scope="module")
def recipe(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """The tiny recipe with a network of four layers, which nobody trained: it is traced in a moment."""
    values = recipe_values(pictures, tmp_path_factory.mktemp("any size"))
    values["Arch"]["Backbone"] = {"name": "Conv4", "width": 8}
    values["Arch"]["Neck"] = {"name": "FC", "embedding_size": 8, "class_num": 16}
    return Recipe.from_dict(values)


@pytest.fixture(scope="module")
def model(recipe: Recipe) -> RecModel:
    torch.manual_seed(0)
    return build_rec_model(recipe.network, pretrained=False).eval()


@pytest.fixture(scope="module")
def any_size(recipe: Recipe, model: RecModel) -> ExportResult:
    options = ExportOptions("uint8_nhwc_any_size", program=True, sample=6, runtimes=["openvino"])
    return export_model(recipe, model, Path(recipe.global_.save_inference_dir), None, options=options)


def test_a_folder_proves_itself_against_pictures_that_opencv_resized(any_size: ExportResult) -> None:
    names = [each["runtime"] for each in any_size.parity["runtimes"]]
    assert names == ["onnxruntime", "openvino", "torch", "torch.export"]
    assert max(each["largest_angle"] for each in any_size.parity["runtimes"]) < 1e-9
    assert any_size.parity["pictures"] == 6
    opened = ModelFolder.open(any_size.folder)
    opened.verify()
    card = (opened.path / "README.md").read_text("utf-8")
    assert "pixels of any size; the graph makes 32 x 32 of them" in card
    assert "cv2.resize" not in card


@pytest.mark.parametrize("backend", ["onnx", "openvino", "torch"])
def test_embedder_takes_pictures_of_several_sizes(
    backend: str, any_size: ExportResult, recipe: Recipe, model: RecModel
) -> None:
    images = [drawn(*size) for size in (*SIZES, *SIZES[:3])]
    preprocess = recipe_preprocess(recipe)
    with torch.inference_mode():
        features = model(torch.from_numpy(np.stack([preprocess(image) for image in images])))["features"]
    expected = torch.nn.functional.normalize(features).numpy()
    embedder = Embedder(any_size.folder, backend=backend)
    np.testing.assert_allclose(embedder.encode(images), expected, atol=5e-5)
    parts = list(embedder.stream(images, batch_size=5))
    assert [positions.tolist() for positions, _ in parts] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11]]


@needs_node
def test_onnxruntime_web_runs_such_a_folder(any_size: ExportResult, tmp_path: Path) -> None:
    expected, vectors = here_and_there(Path(any_size.folder), tmp_path)
    np.testing.assert_allclose(vectors, expected, atol=1e-4 * np.abs(expected).max())
