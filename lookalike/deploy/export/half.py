"""Weights of 16 bits: half the file, the arithmetic in float32 as before.

Onnxruntime has no convolutions in float16 or bfloat16 for x86 processors: around every layer it would turn
values to float32 and back. So the weights are held in 16 bits and turned to float32 once, when the graph is
loaded: memory and speed are those of a float32 graph, the file is half as large. Pictures and features stay
float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lookalike.core.errors import missing_extra
from lookalike.core.files import atomic_file

Half = Literal["fp16", "bf16"]

SMALLEST = 64
"""Of fewer numbers nothing is gained: scalars and constants of formulas stay as they are."""
_LARGEST = 65504.0


@dataclass(frozen=True)
class HalfReport:
    """How many weights are held in 16 bits, and the bytes of both files."""

    precision: Half
    weights: int
    bytes_before: int
    bytes_after: int

    def lines(self) -> list[str]:
        """What a model card says."""
        return [
            f"weights held in {self.precision}, turned to float32 when the graph is loaded: "
            f"{self.bytes_after / 1e6:.1f} MB in place of {self.bytes_before / 1e6:.1f} MB, not faster"
        ]


def halve_weights(graph: Path, out: Path, precision: Half) -> HalfReport:
    """Write a graph whose float32 weights are held in 16 bits, with a Cast behind each.

    fp16 has 11 bits of precision and numbers up to 65504, bf16 8 bits and the range of float32. A weight with
    a number beyond fp16 stays float32. Raises UserError where `onnx` is missing.
    """
    try:
        import onnx
        from onnx import TensorProto, helper
    except ImportError as error:
        raise missing_extra("onnx", "train", f"weights in {precision}") from error
    model = onnx.load(graph)
    casts, weights = [], 0
    for held in model.graph.initializer:
        if held.data_type != TensorProto.FLOAT:
            continue
        values = onnx.numpy_helper.to_array(held)
        if values.size < SMALLEST or (precision == "fp16" and not np.abs(values).max() <= _LARGEST):
            continue
        name = held.name
        short = _shortened(values, f"{name}_{precision}", precision)
        casts.append(
            helper.make_node("Cast", [short.name], [name], name=f"{name}_cast", to=TensorProto.FLOAT)
        )
        held.CopyFrom(short)
        weights += values.size
    for node in reversed(casts):
        model.graph.node.insert(0, node)
    content = model.SerializeToString()
    with atomic_file(out) as file:
        file.write(content)
    return HalfReport(precision, weights, graph.stat().st_size, len(content))


def _shortened(values: Any, name: str, precision: Half) -> Any:
    """A tensor of 16 bits, rounded to nearest, ties to even."""
    from onnx import TensorProto, helper, numpy_helper

    if precision == "fp16":
        return numpy_helper.from_array(values.astype(np.float16), name)
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")
    return helper.make_tensor(name, TensorProto.BFLOAT16, values.shape, rounded.tobytes(), raw=True)
