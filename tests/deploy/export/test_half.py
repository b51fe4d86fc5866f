"""Weights of 16 bits: half the file, features as near as 16 bits are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from lookalike.deploy.export.half import Half, halve_weights
from lookalike.deploy.runtimes.runtime import OnnxRuntime


def graph(folder: Path, largest: float = 1.0) -> tuple[Path, np.ndarray]:
    """A 1x1 convolution (N, 64, 1, 1) -> (N, 256, 1, 1), flattened."""
    weight = np.random.default_rng(0).normal(size=(256, 64, 1, 1)).astype(np.float32)
    weight[0, 0] = largest
    nodes = [
        helper.make_node("Conv", ["images", "weight"], ["map"], name="conv"),
        helper.make_node("Flatten", ["map"], ["features"], name="flat"),
    ]
    made = helper.make_graph(
        nodes, "conv",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 64, 1, 1])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", 256])],
        [numpy_helper.from_array(weight, "weight")],
    )  # fmt: skip
    file = folder / "float.onnx"
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), file)
    return file, weight[..., 0, 0]


@pytest.mark.parametrize(("precision", "bits"), [("fp16", 11), ("bf16", 8)])
def test_weights_are_rounded_and_nothing_else(tmp_path: Path, precision: Half, bits: int) -> None:
    file, weight = graph(tmp_path)
    report = halve_weights(file, tmp_path / "half.onnx", precision)
    onnx.checker.check_model(onnx.load(tmp_path / "half.onnx"), full_check=True)
    assert (report.precision, report.weights) == (precision, weight.size)
    assert report.bytes_after == (tmp_path / "half.onnx").stat().st_size < 0.52 * report.bytes_before
    # one picture a number shows each column of the weights
    found = OnnxRuntime(tmp_path / "half.onnx")(np.eye(64, dtype=np.float32)[..., None, None]).T
    _, exponents = np.frexp(weight)
    step = np.ldexp(1.0, exponents - bits)
    np.testing.assert_array_less(np.abs(found - weight), step / 2 + 1e-12)
    assert (found != weight).any()
    np.testing.assert_array_equal(found, np.rint(weight / step) * step)


def test_weights_beyond_fp16_stay(tmp_path: Path) -> None:
    file, weight = graph(tmp_path, largest=1e6)
    assert halve_weights(file, tmp_path / "half.onnx", "fp16").weights == 0
    assert halve_weights(file, tmp_path / "half.onnx", "bf16").weights == weight.size
