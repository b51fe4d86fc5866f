"""An int8 graph: what stays in float, what the search keeps, and that its integers are exact."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from lookalike.core.errors import UserError
from lookalike.deploy.quantisation import quantise_graph
from lookalike.deploy.quantisation.bias import correct_biases, mean_inputs
from lookalike.deploy.quantisation.graph import quantised
from lookalike.deploy.quantisation.layers import prepared, prologue, tail, with_weights, work
from lookalike.deploy.quantisation.ranges import Ranges, measured_ranges
from lookalike.deploy.quantisation.running import open_graph, run
from lookalike.deploy.quantisation.search import layers_to_keep
from lookalike.deploy.runtimes.openvino_runtime import OpenVinoRuntime
from lookalike.deploy.runtimes.runtime import OnnxRuntime, Runtime

SIDE, WIDTH = 8, 16


def network(folder: Path) -> Path:
    """Normalisation → conv → ReLU → depthwise conv → global average pool → linear."""
    generator = np.random.default_rng(0)

    def held(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(generator.normal(size=shape).astype(np.float32) / 3, name)

    weights = [
        numpy_helper.from_array(np.float32(0.5), "half"),
        held("w1", WIDTH, 3, 3, 3), held("b1", WIDTH), held("w2", WIDTH, 1, 3, 3),
        held("b2", WIDTH), held("w3", WIDTH, 12), held("b3", 12),
        numpy_helper.from_array(np.array([-1, WIDTH]), "rows"),
    ]  # fmt: skip
    nodes = [
        helper.make_node("Mul", ["images", "half"], ["scaled"], name="scale"),
        helper.make_node("Conv", ["scaled", "w1", "b1"], ["c1"], name="first", pads=[1] * 4),
        helper.make_node("Relu", ["c1"], ["r1"], name="relu"),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], name="depthwise", pads=[1] * 4, group=WIDTH),
        helper.make_node("GlobalAveragePool", ["c2"], ["pooled"], name="pool"),
        helper.make_node("Reshape", ["pooled", "rows"], ["flat"], name="flatten"),
        helper.make_node("Gemm", ["flat", "w3", "b3"], ["features"], name="last"),
    ]
    graph = helper.make_graph(
        nodes, "network",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", 12])],
        weights,
    )  # fmt: skip
    file = folder / "float.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), file)
    return file


def pictures(count: int = 64) -> np.ndarray:
    return np.random.default_rng(count).normal(size=(count, 3, SIDE, SIDE)).astype(np.float32)


def test_maps_are_integers_and_both_ends_are_float(tmp_path: Path) -> None:
    report = quantise_graph(network(tmp_path), tmp_path / "int8.onnx", [pictures()])
    assert (report.int8_layers, report.float_tail, report.kept_float) == (2, 1, {})
    assert report.pictures == 48  # one in four is held out
    assert report.mean_angle <= report.largest_angle < 0.005
    graph = onnx.load(tmp_path / "int8.onnx").graph
    nodes = {node.name: node for node in graph.node}
    producers = {name: node.op_type for node in graph.node for name in node.output}
    for layer in ("first", "depthwise"):
        assert [producers[name] for name in nodes[layer].input] == ["DequantizeLinear"] * 3
    assert producers[nodes["pool"].input[0]] == "DequantizeLinear"
    assert "relu" not in nodes, "the range of the layer before it cuts off what is below 0"
    assert nodes["scale"].input[0] == "images", "pictures are rounded once, behind their normalisation"
    assert nodes["last"].input[1] == "w3"


def test_integers_are_exact_on_every_processor(tmp_path: Path) -> None:
    """AVX2 without VNNI adds pairs of products in 16 bits: 255 · 127 · 2 does not fit, 255 · 64 · 2 does.

    So weights have 7 bits, but those of depthwise layers, which are multiplied in 32 bits. All weights are
    large and positive here, and so are all pictures: whatever can overflow does. What onnxruntime and
    OpenVINO make of the pairs with integers is compared with the pairs as they stand, in float32.
    """
    model = onnx.load(network(tmp_path))
    for held in model.graph.initializer:
        if held.name in ("w1", "w2"):
            held.CopyFrom(numpy_helper.from_array(np.full(held.dims, 0.1, np.float32), held.name))
    onnx.save(model, tmp_path / "large.onnx")
    given = np.abs(pictures())
    quantise_graph(tmp_path / "large.onnx", tmp_path / "int8.onnx", [given], tolerance=1.0)
    graph = onnx.load(tmp_path / "int8.onnx").graph
    weights = [
        numpy_helper.to_array(each) for each in graph.initializer if each.data_type == TensorProto.INT8
    ]
    assert [each.max() for each in weights if each.ndim == 4] == [64, 127]
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    slow = onnxruntime.InferenceSession(str(tmp_path / "int8.onnx"), options)
    (expected,) = slow.run(None, {"images": given})
    fast: list[Runtime] = [OnnxRuntime(tmp_path / "int8.onnx")]
    if find_spec("openvino") is not None:
        fast.append(OpenVinoRuntime(tmp_path / "int8.onnx"))
    # two ways of rounding may take neighbouring steps of the 256, of which the mean over places has few
    for runtime in fast:
        np.testing.assert_allclose(runtime(given), expected, atol=0.01 * np.abs(expected).max())


def test_biases_make_up_for_rounded_weights(tmp_path: Path) -> None:
    """The mean over pictures and places of what a layer gives is that of the float layer."""
    model = prepared(network(tmp_path), tmp_path)
    (tmp_path / "prepared.onnx").write_bytes(model.SerializeToString())
    ranges = measured_ranges(tmp_path / "prepared.onnx", [pictures()], tmp_path).of("extreme")
    made = quantised(model, ranges, ["scale", "flatten", "last"], 7)
    expected = run(open_graph(model), pictures())[0].mean(axis=0)
    before = run(open_graph(made), pictures())[0].mean(axis=0)
    correct_biases(made, model, mean_inputs(model, [pictures()]))
    after = run(open_graph(made), pictures())[0].mean(axis=0)
    assert np.abs(after - expected).mean() < 0.7 * np.abs(before - expected).mean()


def test_what_hurts_stays_in_float(tmp_path: Path) -> None:
    graph = network(tmp_path)
    rounded = quantise_graph(graph, tmp_path / "a.onnx", [pictures()], tolerance=1.0)
    nearer = quantise_graph(graph, tmp_path / "b.onnx", [pictures()], tolerance=0.9 * rounded.mean_angle)
    assert len(nearer.kept_float) == nearer.int8_layers == 1
    assert nearer.mean_angle <= 0.9 * rounded.mean_angle
    (line,) = [line for line in nearer.lines() if "stays in float" in line]
    assert next(iter(nearer.kept_float)) in line


def test_too_much_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    out = tmp_path / "int8.onnx"
    with pytest.raises(UserError, match="no layer can be computed in 8 bits"):
        quantise_graph(network(tmp_path), out, [pictures()], tolerance=-1.0)
    with pytest.raises(UserError, match="7 are too few"):
        quantise_graph(network(tmp_path), out, [pictures(7)])
    assert not out.exists()


def test_ends_and_work_of_a_graph(tmp_path: Path) -> None:
    model = prepared(network(tmp_path), tmp_path)
    assert with_weights(model) == ["first", "depthwise", "last"]
    assert prologue(model) == ["scale"]
    assert tail(model) == ["flatten", "last"]
    assert work(model)["first"] == WIDTH * SIDE * SIDE * 3 * 9
    assert work(model)["depthwise"] == WIDTH * SIDE * SIDE * 9


def test_ranges_of_both_kinds() -> None:
    ranges = Ranges({"x": np.float32([-4, -2])}, {"x": np.float32([1, 2])})
    assert ranges.of("extreme")["x"].range_value == (-4, 2)
    assert ranges.of("mean")["x"].range_value == (-3, 1.5)


@pytest.mark.parametrize(
    ("tolerance", "kept"), [(5.0, []), (2.0, ["c"]), (0.5, ["c", "a", "d"]), (0.0, list("cadbe"))]
)
def test_the_fewest_layers_in_the_order_of_their_gain(tolerance: float, kept: list[str]) -> None:
    costs = {"a": 1.0, "b": 0.25, "c": 2.0, "d": 0.5, "e": 0.125}

    def loss(layers: Sequence[str]) -> float:
        return sum(cost for layer, cost in costs.items() if layer not in layers)

    found = layers_to_keep(list(costs), loss, loss, tolerance, seconds=60)
    assert list(found.kept_float) == kept
    assert found.loss == loss(kept)
    assert all(gain == costs[layer] for layer, gain in found.kept_float.items())


def test_a_search_ends_in_time() -> None:
    found = layers_to_keep(["a", "b"], lambda kept: 2.0 - len(kept), lambda kept: 1.0, 1.0, seconds=-1)
    assert found.measured == 0
    assert len(found.kept_float) == 1
