"""A graph that computes on 8-bit values: pairs QuantizeLinear, DequantizeLinear around its layers."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any, Literal

from lookalike.deploy.quantisation.layers import QUANTISED, shapes_of

WeightBits = Literal[7, 8]


def quantised(model: Any, ranges: Any, kept_float: Iterable[str], weight_bits: WeightBits) -> Any:
    """A copy of a float graph whose layers, but those named, work on uint8 values and int8 weights.

    Weights have a scale for each channel. Seven bits of weights are what processors with AVX2 and without
    VNNI compute exactly: they add pairs of products in 16 bits, 255 · 127 · 2 is more than fits, 255 · 64 · 2
    is not. Depthwise layers have kernels of their own, which add in 32 bits: their weights always have 8.
    """
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    shapes = shapes_of(model)
    depthwise = {
        node.input[1]: [{"axis": 0, "reduce_range": False}]
        for node in model.graph.node
        if node.op_type == "Conv" and shapes[node.input[1]][1] == 1 and shapes[node.input[0]][1] > 1
    }
    quantiser = QDQQuantizer(
        copy.deepcopy(model),
        per_channel=True,
        reduce_range=weight_bits == 7,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=ranges,
        nodes_to_quantize=[],
        nodes_to_exclude=list(kept_float),
        op_types_to_quantize=list(QUANTISED),
        extra_options={"TensorQuantOverrides": depthwise} if weight_bits == 7 else {},
    )
    made = quantiser.quantize_model()
    _ask_for_shapes_of_floats(made)
    return made


def _ask_for_shapes_of_floats(model: Any) -> None:
    """Let Shape read a tensor as it was before it was rounded: else it would be dequantised for its shape."""
    pairs = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    pairs = {
        node.output[0]: pairs[node.input[0]]
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in pairs
    }
    for node in model.graph.node:
        if node.op_type == "Shape" and node.input[0] in pairs:
            node.input[0] = pairs[node.input[0]]
