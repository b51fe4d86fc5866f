"""A rewritten graph gives the same features, and what is another thing stays as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from lookalike import ModelFolder
from lookalike.deploy.export.graph_passes import simplify, simplify_file

Values = dict[str, np.ndarray]
RELATIVE = 1e-6


def graph(
    nodes: list[Any], constants: Values, shape: list[Any], given: list[Any] | None = None
) -> onnx.ModelProto:
    """A graph from `x` to the output of its last node."""
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, given)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def check(model: onnx.ModelProto, shape: tuple[int, ...], kinds: list[str]) -> dict[str, int]:
    """Simplify; the values must stay and the nodes be of these kinds."""
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    before = run(model, x)
    done = simplify(model)
    assert [node.op_type for node in model.graph.node] == kinds
    np.testing.assert_allclose(run(model, x), before, rtol=0, atol=RELATIVE * np.abs(before).max())
    return done


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).uniform(0.5, 2.0, shape).astype(np.float32)


def test_the_end_of_a_network_becomes_a_convolution() -> None:
    norm = {name: random(6) for name in ("scale", "shift", "mean", "variance")}
    nodes = [
        helper.make_node("ReduceMean", ["x", "axes"], ["m"], keepdims=1),
        helper.make_node("Conv", ["m", "w", "b"], ["c"]),
        helper.make_node("Mul", ["c", "keep"], ["k"]),
        helper.make_node("Reshape", ["k", "flat"], ["r"]),
        helper.make_node("BatchNormalization", ["r", *norm], ["n"], epsilon=1e-3),
    ]
    constants: Values = {
        "axes": np.array([-1, -2]), "w": random(6, 4, 1, 1), "b": random(6),
        "keep": np.array(0.8, np.float32), "flat": np.array([-1, 6]), **norm,
    }  # fmt: skip
    model = graph(nodes, constants, ["batch", 4, 5, 5])
    done = check(model, (3, 4, 5, 5), ["GlobalAveragePool", "Conv", "Reshape"])
    assert done == {"pooled_means": 1, "folded_factors": 1, "folded_norms": 1, "plain_divisors": 0}
    assert sorted(each.name for each in model.graph.initializer) == ["b", "flat", "w"]


def test_a_norm_behind_a_convolution_without_bias_becomes_its_bias() -> None:
    norm = {name: random(6) for name in ("scale", "shift", "mean", "variance")}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("BatchNormalization", ["c", *norm], ["n"]),
    ]
    check(graph(nodes, {"w": random(6, 4, 1, 1), **norm}, ["batch", 4, 5, 5]), (2, 4, 5, 5), ["Conv"])


def test_a_norm_behind_a_convolution_of_one_dimension_becomes_part_of_it() -> None:
    norm = {name: random(6) for name in ("scale", "shift", "mean", "variance")}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("BatchNormalization", ["c", *norm], ["n"]),
    ]
    check(graph(nodes, {"w": random(6, 4, 3), **norm}, ["batch", 4, 9]), (2, 4, 9), ["Conv"])


@pytest.mark.parametrize("bias", [True, False])
def test_convolutions_that_share_weights_are_each_folded_with_their_own_norm(bias: bool) -> None:
    nodes, constants = [], {"w": random(2, 4, 1, 1), "w_folded": random(2), "w_folded_bias": random(2)}
    if bias:
        constants["b"] = random(2)
    for place in range(3):
        norm = [f"{name} {place}" for name in ("scale", "shift", "mean", "variance")]
        constants |= {name: random(2) * (place + 1) for name in norm}
        nodes += [
            helper.make_node("Conv", ["x", "w", *(["b"] if bias else [])], [f"c{place}"]),
            helper.make_node("BatchNormalization", [f"c{place}", *norm], [f"n{place}"]),
        ]
    nodes.append(helper.make_node("Concat", ["n0", "n1", "n2"], ["all"], axis=1))
    model = graph(nodes, constants, ["batch", 4, 5, 5])
    check(model, (2, 4, 5, 5), ["Conv", "Conv", "Conv", "Concat"])


def test_weights_that_two_layers_share_are_not_changed_for_the_other() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Mul", ["c", "half"], ["h"]),
        helper.make_node("Conv", ["x", "w"], ["d"]),
        helper.make_node("Add", ["h", "d"], ["s"]),
    ]
    constants = {"w": random(6, 4, 1, 1), "half": np.array(0.5, np.float32)}
    check(graph(nodes, constants, ["batch", 4, 5, 5]), (2, 4, 5, 5), ["Conv", "Conv", "Add"])


def test_a_division_takes_one_divisor_for_many_values() -> None:
    nodes = [
        helper.make_node("ReduceL2", ["x", "axes"], ["l"], keepdims=1),
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Expand", ["l", "s"], ["e"]),
        helper.make_node("Div", ["x", "e"], ["y"]),
    ]
    check(graph(nodes, {"axes": np.array([1])}, ["batch", 4], ["batch", 4]), (2, 4), ["ReduceL2", "Div"])


@pytest.mark.parametrize(
    ("nodes", "constants"),
    [
        # another mean: over channels, or without the dimensions
        ([helper.make_node("ReduceMean", ["x", "a"], ["y"])], {"a": np.array([1])}),
        ([helper.make_node("ReduceMean", ["x", "a"], ["y"], keepdims=0)], {"a": np.array([2, 3])}),
        # a factor for each channel at another place than the weights have it
        (
            [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("Mul", ["c", "f"], ["y"])],
            {"w": random(6, 4, 1, 1), "f": random(6, 1, 1)},
        ),
        # what the convolution gives is taken by others, too
        (
            [
                helper.make_node("Conv", ["x", "w"], ["c"]),
                helper.make_node("Mul", ["c", "f"], ["m"]),
                helper.make_node("Add", ["c", "m"], ["y"]),
            ],
            {"w": random(6, 4, 1, 1), "f": np.array(0.5, np.float32)},
        ),
    ],
)
def test_what_is_another_thing_stays(nodes: list[Any], constants: Values) -> None:
    kinds = [node.op_type for node in nodes]
    done = check(graph(nodes, constants, ["batch", 4, 5, 5]), (2, 4, 5, 5), kinds)
    assert not any(done.values())


def test_an_exported_graph_is_simple(trained: Path, tmp_path: Path) -> None:
    folder = ModelFolder.open(trained / "inference")
    kinds = {node.op_type for node in onnx.load(str(folder.graph_file)).graph.node}
    assert "GlobalAveragePool" in kinds
    assert not kinds & {"ReduceMean", "Expand", "BatchNormalization"}
    copy = tmp_path / "model.onnx"
    copy.write_bytes(folder.graph_file.read_bytes())
    assert not any(simplify_file(copy).values())
    assert copy.read_bytes() == folder.graph_file.read_bytes()
