"""Rewriting an exported graph so that runtimes compute it faster, with the same features up to rounding.

What torch writes is right, but some of it keeps onnxruntime from its fastest kernels: the mean over all
places as a general reduction, for instance, makes it leave the blocked layout of its convolutions and come
back. Needs onnx, and no torch.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from lookalike.core.files import atomic_file

Node = onnx.NodeProto


def simplify_file(file: Path) -> dict[str, int]:
    """Rewrite a graph in its place; how often each pass found something."""
    model = onnx.load(str(file))
    done = simplify(model)
    with atomic_file(file) as part:
        part.write(model.SerializeToString())
    return done


def simplify(model: onnx.ModelProto) -> dict[str, int]:
    """Rewrite a model in place; how often each pass found something.

    Batch norms and constant factors behind the last layer become part of its weights, means over all places
    a global average pool, and a division needs no copy of its divisor for each value.
    """
    graph = _Graph(model)
    done = {
        each.__name__: each(graph) for each in (pooled_means, folded_factors, folded_norms, plain_divisors)
    }
    graph.remove_unused()
    return done


class _Graph:
    """A graph with who makes and who takes each value, and the shapes that are known."""

    def __init__(self, model: onnx.ModelProto) -> None:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
        self.graph = model.graph
        self.constants = {each.name: each for each in self.graph.initializer}
        self.given = {each.name for each in self.graph.output}
        self.shapes: dict[str, list[int | str | None]] = {}
        for value in (*inferred.input, *inferred.value_info, *inferred.output):
            dimensions = value.type.tensor_type.shape.dim
            if value.type.tensor_type.HasField("shape"):
                self.shapes[value.name] = [
                    each.dim_value if each.HasField("dim_value") else each.dim_param or None
                    for each in dimensions
                ]

    def nodes(self, kind: str) -> Iterator[Node]:
        return (node for node in list(self.graph.node) if node.op_type == kind)

    def maker(self, value: str) -> Node | None:
        return next((node for node in self.graph.node if value in node.output), None)

    def only_taker(self, value: str) -> bool:
        """Whether one node alone takes this value."""
        takers = sum(list(node.input).count(value) for node in self.graph.node)
        return takers == 1 and value not in self.given

    def constant(self, name: str) -> NDArray[Any] | None:
        return numpy_helper.to_array(self.constants[name]) if name in self.constants else None

    def replace_constant(self, name: str, value: NDArray[Any]) -> str:
        """Give the constant `name` this value, or a copy where more than one node takes it; its name."""
        takers = sum(list(node.input).count(name) for node in self.graph.node)
        if takers > 1:
            return self.new_constant(f"{name}_folded", value)
        self.constants[name].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def new_constant(self, name: str, value: NDArray[Any]) -> str:
        """A constant of this name, or of one like it that nothing has; its name."""
        taken = self.constants.keys() | {each.name for each in self.graph.input}
        taken |= {each for node in self.graph.node for each in node.output}
        numbered = (f"{name}_{number}" for number in itertools.count(2))
        free = next(each for each in itertools.chain([name], numbered) if each not in taken)
        self.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), free))
        self.constants[free] = self.graph.initializer[-1]
        return free

    def bypass(self, node: Node, value: str) -> None:
        """Remove a node; whoever makes `value`, what it took, makes its output instead."""
        maker = self.maker(value)
        assert maker is not None
        maker.output[list(maker.output).index(value)] = node.output[0]
        self.graph.node.remove(node)

    def remove_unused(self) -> None:
        """Remove nodes, constants and shapes of which nothing comes."""
        while True:
            taken = Counter(name for node in self.graph.node for name in node.input)
            unused = [
                node
                for node in self.graph.node
                if not any(name in taken or name in self.given for name in node.output)
            ]
            for node in unused:
                self.graph.node.remove(node)
            if not unused:
                break
        for kept in (self.graph.initializer, self.graph.value_info):
            made = {name for node in self.graph.node for name in node.output}
            for each in [each for each in kept if each.name not in taken and each.name not in made]:
                kept.remove(each)


def pooled_means(graph: _Graph) -> int:
    """The mean of a map (N, C, H, W) over its places is a GlobalAveragePool."""
    count = 0
    for node in graph.nodes("ReduceMean"):
        axes = graph.constant(node.input[1]) if len(node.input) > 1 else None
        keeps = next((each.i for each in node.attribute if each.name == "keepdims"), 1)
        shape = graph.shapes.get(node.input[0], [])
        if axes is None or len(shape) != 4 or not keeps or sorted(int(axis) % 4 for axis in axes) != [2, 3]:
            continue
        pool = onnx.helper.make_node("GlobalAveragePool", [node.input[0]], [node.output[0]], name=node.name)
        node.CopyFrom(pool)
        count += 1
    return count


def folded_factors(graph: _Graph) -> int:
    """conv(x) * constant is a convolution with other weights."""
    count = 0
    for node in graph.nodes("Mul"):
        for value, factor_name in (tuple(node.input), tuple(reversed(node.input))):
            factor, layer = graph.constant(factor_name), graph.maker(value)
            if factor is None or factor.size != 1 or layer is None or layer.op_type != "Conv":
                continue
            if graph.only_taker(value) and _scale(graph, layer, factor.reshape(1), None):
                graph.bypass(node, value)
                count += 1
                break
    return count


def folded_norms(graph: _Graph) -> int:
    """A batch norm behind a convolution is part of it, also behind a reshape of one place to (N, C)."""
    count = 0
    for node in graph.nodes("BatchNormalization"):
        value = node.input[0]
        between, layer = None, graph.maker(value)
        if layer is not None and layer.op_type in ("Reshape", "Flatten"):
            between, layer = layer, graph.maker(layer.input[0])
        if layer is None or layer.op_type != "Conv" or not graph.only_taker(value):
            continue
        scale, bias, mean, variance = (graph.constant(name) for name in node.input[1:5])
        if scale is None or bias is None or mean is None or variance is None:
            continue
        if between is not None and not (
            graph.only_taker(between.input[0])
            and graph.shapes.get(between.input[0], [])[2:] == [1, 1]
            and graph.shapes.get(value, [])[1:] == [len(scale)]
        ):
            continue
        epsilon = next((each.f for each in node.attribute if each.name == "epsilon"), 1e-5)
        factor = scale.astype(np.float64) / np.sqrt(variance.astype(np.float64) + epsilon)
        if _scale(graph, layer, factor, bias - mean * factor):
            graph.bypass(node, value)
            count += 1
    return count


def _scale(graph: _Graph, layer: Node, factor: NDArray[Any], shift: NDArray[Any] | None) -> bool:
    """Make a convolution give factor * conv(x) + shift; False where its weights are not constant."""
    weight = graph.constant(layer.input[1])
    bias = graph.constant(layer.input[2]) if len(layer.input) > 2 else None
    if weight is None or (bias is None and len(layer.input) > 2):
        return False
    wide = factor.astype(np.float64)
    scaled = (weight * wide.reshape(-1, *[1] * (weight.ndim - 1))).astype(weight.dtype)
    layer.input[1] = graph.replace_constant(layer.input[1], scaled)
    if bias is None and shift is None:
        return True
    moved = (0.0 if bias is None else bias * wide) + (0.0 if shift is None else shift)
    moved = np.broadcast_to(np.asarray(moved), (len(weight),)).astype(weight.dtype)
    if bias is None:
        layer.input.append(graph.new_constant(f"{layer.input[1]}_bias", moved))
    else:
        layer.input[2] = graph.replace_constant(layer.input[2], moved)
    return True


def plain_divisors(graph: _Graph) -> int:
    """x / expand(y, shape of x) is x / y: a division takes one divisor for many values as it is."""
    count = 0
    for node in graph.nodes("Div"):
        copies = graph.maker(node.input[1])
        if copies is None or copies.op_type != "Expand" or copies.input[0] not in graph.shapes:
            continue
        whole, divisor = graph.shapes.get(node.input[0]), graph.shapes[copies.input[0]]
        if whole is None or len(whole) != len(divisor) or graph.shapes.get(node.output[0]) != whole:
            continue
        if all(small in (1, large) for small, large in zip(divisor, whole, strict=True)):
            node.input[1] = copies.input[0]
            count += 1
    return count
