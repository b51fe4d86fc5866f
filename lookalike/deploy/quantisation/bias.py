"""What rounding its weights adds to the output of a layer on average is taken off its bias.

Rounded weights are off by some error in each place, and what reads them is mostly above zero: the errors of a
channel do not cancel. Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction,
https://arxiv.org/abs/1906.04721, with the means of calibration pictures in place of those of batch norms.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.deploy.quantisation.layers import shapes_of, with_weights
from lookalike.deploy.quantisation.running import open_graph, run

Means = dict[str, NDArray[np.float64]]
"""The mean of each channel of what a convolution reads, (C,), by the convolution's name."""


def mean_inputs(model: Any, batches: Iterable[NDArray[Any]]) -> Means:
    """Run a graph over batches of pictures and note what its convolutions read, on average."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    layers = set(with_weights(model))
    read = {
        node.name: node.input[0]
        for node in model.graph.node
        if node.name in layers and node.op_type == "Conv"
    }
    del watched.graph.output[:]
    for number, name in enumerate(sorted(set(read.values()))):
        axes = numpy_helper.from_array(np.array([0, 2, 3]), f"mean_of_{number}_axes")
        watched.graph.initializer.append(axes)
        watched.graph.node.append(
            helper.make_node("ReduceMean", [name, axes.name], [f"mean_of_{name}"], keepdims=0)
        )
        watched.graph.output.append(
            helper.make_tensor_value_info(f"mean_of_{name}", TensorProto.FLOAT, [None])
        )
    names = [each.name for each in watched.graph.output]
    sums = [np.zeros(1)] * len(names)
    count = 0
    session = open_graph(watched)
    for batch in batches:
        sums = [total + len(batch) * mean for total, mean in zip(sums, run(session, batch), strict=True)]
        count += len(batch)
    means = dict(zip(names, sums, strict=True))
    return {layer: means[f"mean_of_{name}"] / count for layer, name in read.items()}


def correct_biases(made: Any, model: Any, means: Means) -> None:
    """Change the biases of an int8 graph that was made of a float one, in place.

    Of a convolution, b' = b - Σ_i E[x_i] Σ_k (w'_ik - w_ik) for each channel it gives, with w' the rounded
    weights, i the channels it reads and k the places of the kernel. Borders are taken for the inside.
    """
    from onnx import numpy_helper

    weights = {each.name: each for each in model.graph.initializer}
    held = {each.name: each for each in made.graph.initializer}
    pairs = {
        name: node.input[:2]
        for node in made.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in held
        for name in node.output
    }
    sources = {node.name: node for node in model.graph.node}
    shapes = shapes_of(model)
    for node in made.graph.node:
        if node.name not in means or len(node.input) < 3 or not set(node.input[1:3]) <= pairs.keys():
            continue  # it stays in float, or has no bias
        weight, scale, bias, step = (
            numpy_helper.to_array(held[name]).astype(np.float64)
            for each in node.input[1:3]
            for name in pairs[each]
        )
        exact = numpy_helper.to_array(weights[sources[node.name].input[1]])
        places = exact.shape[1:]
        error = (weight * scale.reshape(-1, *[1] * len(places)) - exact).sum(axis=tuple(range(2, exact.ndim)))
        groups = shapes[sources[node.name].input[0]][1] // places[0]
        read = means[node.name].reshape(groups, places[0]).repeat(len(exact) // groups, axis=0)
        shift = (error * read).sum(axis=1)
        limits = np.iinfo(np.int32)
        moved = np.clip(np.rint(bias - shift / step), limits.min, limits.max).astype(np.int32)
        name = pairs[node.input[2]][0]
        held[name].CopyFrom(numpy_helper.from_array(moved, name))
