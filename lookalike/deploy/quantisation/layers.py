"""What the layers of a graph cost, and which of them are not worth 8 bits."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

QUANTISED = (
    "Add",
    "AveragePool",
    "Clip",
    "Concat",
    "Conv",
    "Flatten",
    "Gemm",
    "GlobalAveragePool",
    "MatMul",
    "MaxPool",
    "Mul",
    "Relu",
    "Reshape",
    "Transpose",
)
"""Operations that onnxruntime computes on 8-bit values; around all others values are turned to float."""


def prepared(graph: Path, folder: Path) -> Any:
    """The graph as an onnx.ModelProto: constants and batch norms folded, shapes inferred, every node named.

    onnxruntime folds; its half-way graph is written into `folder`.
    """
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(folder / "folded.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    model = onnx.shape_inference.infer_shapes(onnx.load(folder / "folded.onnx"))
    read = {name for node in model.graph.node for name in node.input}
    unread = [each for each in model.graph.initializer if each.name not in read]
    for each in unread:
        model.graph.initializer.remove(each)
    taken: set[str] = set()
    for number, node in enumerate(model.graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_{number}"
        taken.add(node.name)
    return model


def work(model: Any) -> dict[str, int]:
    """Operations of each node for one picture, by the node's name.

    Multiplications of convolutions and matrix products, of other nodes the numbers they give. Dimensions that
    are not fixed count as 1.
    """
    shapes = shapes_of(model)
    found = {}
    for node in model.graph.node:
        numbers = sum(prod(shapes.get(name, ())) for name in node.output)
        if node.op_type == "Conv":
            numbers *= prod(shapes[node.input[1]][1:])
        elif node.op_type in ("Gemm", "MatMul"):
            numbers *= shapes[node.input[0]][-1]
        found[node.name] = numbers
    return found


def tail(model: Any) -> list[str]:
    """The nodes behind the last pooling, each with all that follows it: those that see no map any more.

    A number stands for a whole picture there: to round it costs most and saves nothing. A layer that does
    more than a hundredth of the work, as the first linear layer of VGG, is none of them.
    """
    shapes, costs = shapes_of(model), work(model)
    allowed = sum(costs.values()) / 100
    held = {each.name for each in model.graph.initializer}
    consumers: dict[str, list[str]] = {}
    for node in model.graph.node:
        for name in node.input:
            consumers.setdefault(name, []).append(node.name)
    inside: set[str] = set()
    for node in reversed(model.graph.node):  # in topological order: consumers come first here
        sees_maps = any(
            len(shapes.get(name, ())) > 2 and prod(shapes[name][2:]) > 1
            for name in node.input
            if name not in held
        )
        followers = [each for name in node.output for each in consumers.get(name, [])]
        if not sees_maps and costs[node.name] <= allowed and inside.issuperset(followers):
            inside.add(node.name)
    return sorted(inside)


def with_weights(model: Any) -> list[str]:
    """The layers whose weights the graph holds: what 8 bits make smaller."""
    held = {each.name for each in model.graph.initializer}
    return [
        node.name
        for node in model.graph.node
        if node.op_type in ("Conv", "Gemm", "MatMul") and held.intersection(node.input[1:2])
    ]


def prologue(model: Any) -> list[str]:
    """The nodes before the first layers with weights, such as a normalisation of pixels: they see pictures.

    A picture is rounded once then, behind them.
    """
    layers = set(with_weights(model))
    behind: set[str] = set()
    inside = []
    for node in model.graph.node:
        if node.name in layers or behind.intersection(node.input):
            behind.update(node.output)
        else:
            inside.append(node.name)
    return inside


def shapes_of(model: Any) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor that has one; dimensions that are not fixed are 1."""
    known = [*model.graph.value_info, *model.graph.input, *model.graph.output]
    found = {
        each.name: tuple(size.dim_value or 1 for size in each.type.tensor_type.shape.dim) for each in known
    }
    return found | {each.name: tuple(each.dims) for each in model.graph.initializer}
