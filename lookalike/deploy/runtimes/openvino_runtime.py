"""A model folder in OpenVINO, on the CPU."""

from __future__ import annotations

from pathlib import Path
from threading import local
from typing import Any

import numpy as np

from lookalike.core.errors import UserError, line_of, missing_extra
from lookalike.core.machine import available_threads
from lookalike.deploy.model_folder import ModelFolder
from lookalike.deploy.runtimes.runtime import Batch, Floats, GraphInput, device_number


class OpenVinoRuntime:
    """A graph of ONNX in OpenVINO. May be called from several threads at once.

    The arithmetic is float32, also on processors for which OpenVINO would choose bfloat16 by itself.
    """

    def __init__(self, graph: Path, threads: int | None = None) -> None:
        try:
            import openvino
        except ImportError as error:
            raise missing_extra("openvino", "openvino", "backend 'openvino'") from error
        options = {
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads or available_threads(),
            "PERFORMANCE_HINT": "LATENCY",
        }
        core, done = openvino.Core(), "read"
        try:
            model = core.read_model(graph)
            _fold_constants(model)
            done = "compiled"  # the processor may lack what the graph needs
            self.compiled = core.compile_model(model, "CPU", options)
        except Exception as error:  # OpenVINO raises RuntimeError, and in some versions its own kinds
            raise UserError(f"{graph} cannot be {done} by OpenVINO: {line_of(error, last=True)}") from None
        taken = model.inputs[0]
        shape = tuple(None if each.is_dynamic else each.get_length() for each in taken.get_partial_shape())
        self.input = GraphInput(
            graph, taken.get_any_name(), shape, np.dtype(taken.get_element_type().to_dtype())
        )
        self.reentrant = options["INFERENCE_NUM_THREADS"] == 1
        self._requests = local()

    def __call__(self, batch: Batch) -> Floats:
        self.input.check(batch)
        features = self._request().infer({0: batch}, share_inputs=True)[0]
        return np.array(features, dtype=np.float32)

    def _request(self) -> Any:
        """The request of this thread: one request serves one batch at a time."""
        if not hasattr(self._requests, "request"):
            self._requests.request = self.compiled.create_infer_request()
        return self._requests.request


def open_folder(folder: ModelFolder, threads: int | None, device: str) -> OpenVinoRuntime:
    """What runs the graph of a model folder in OpenVINO; see `open_runtime`."""
    if device_number(device) is not None:
        raise UserError(f"device '{device}': backend 'openvino' computes on the CPU; use 'torch' or 'onnx'")
    return OpenVinoRuntime(folder.graph_file, threads)


def _fold_constants(model: Any) -> None:
    """Compute what depends on no input, such as the bias of a convolution in the shape that it is added in.

    Left to itself, OpenVINO computes int8 graphs wrongly in which an operation takes the number of pictures
    for a size (Range, Expand, Slice; seen in 2025.4 to 2026.4, not in 2025.0): it moves the bias of a
    convolution into the bounds of the rounding behind it, that of the first channel for all of them.

    Weights in 8 bits are no constants meanwhile: folded with their scales they would be floats, and their
    layers computed as such, three times slower.
    """
    from openvino import opset8
    from openvino.passes import ConstantFolding, Manager

    weights_of_8_bits = [
        node
        for node in model.get_ops()
        if node.get_type_name() == "Constant"
        and node.get_element_type().to_string() in ("i8", "u8")
        and len(node.shape) > 1
    ]
    hidden = [(each, opset8.parameter(each.shape, each.get_element_type())) for each in weights_of_8_bits]
    for weights, stand_in in hidden:
        weights.output(0).replace(stand_in.output(0))
    model.add_parameters([stand_in for _, stand_in in hidden])
    passes = Manager()
    passes.register_pass(ConstantFolding())
    passes.run_passes(model)
    for weights, stand_in in hidden:
        stand_in.output(0).replace(weights.output(0))
        model.remove_parameter(stand_in)
