"""Running an exported graph: pictures as an array in, features out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lookalike.core.errors import UserError

Floats = NDArray[np.float32]


class Runtime(Protocol):
    """Anything that turns a batch (N, C, H, W) into features (N, D)."""

    def __call__(self, batch: Floats) -> Floats: ...


class OnnxRuntime:
    """The graph of a model folder in onnxruntime, on the CPU."""

    def __init__(self, graph: Path, threads: int | None = None) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or int(os.environ.get("OMP_NUM_THREADS", "0"))
        options.log_severity_level = 3
        try:
            self.session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises its own, undocumented types for a damaged file
            raise UserError(f"{graph} cannot be read as an ONNX graph: {str(error).splitlines()[0]}") from None
        self.input = self.session.get_inputs()[0].name

    def __call__(self, batch: Floats) -> Floats:
        (features,) = self.session.run(None, {self.input: batch})
        return np.asarray(features, dtype=np.float32)
