"""Running a graph in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.deploy.runtimes.runtime import threads_of_onnxruntime


def open_graph(model: Any) -> Any:
    """A session of onnxruntime over an onnx.ModelProto."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads_of_onnxruntime()
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def run(session: Any, pictures: NDArray[Any]) -> list[NDArray[np.float32]]:
    """All outputs for a batch of pictures."""
    (name,) = [each.name for each in session.get_inputs()]
    found: list[NDArray[np.float32]] = session.run(None, {name: pictures})
    return found
