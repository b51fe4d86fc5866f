"""Running an exported graph: pictures as an array in, features out."""

from __future__ import annotations

import os
from collections.abc import Sequence
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
        options.intra_op_num_threads = threads or _threads_asked_for()
        options.log_severity_level = 3
        try:
            self.session = onnxruntime.InferenceSession(
                str(graph), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime raises its own, undocumented types for a damaged file
            raise UserError(
                f"{graph} cannot be read as an ONNX graph: {str(error).splitlines()[0]}"
            ) from None
        first = self.session.get_inputs()[0]
        self.name, self.input, self.shape = str(graph), first.name, list(first.shape)

    def __call__(self, batch: Floats) -> Floats:
        fits = len(self.shape) == batch.ndim and all(
            wanted == given
            for wanted, given in zip(self.shape, batch.shape, strict=True)
            if isinstance(wanted, int)
        )
        if not fits:
            raise UserError(
                f"{self.name} takes pictures of {_spelled(self.shape[1:])}, but the preprocessing gives "
                f"{_spelled(batch.shape[1:])}"
            )
        (features,) = self.session.run(None, {self.input: batch})
        return np.asarray(features, dtype=np.float32)


def _threads_asked_for() -> int:
    """`OMP_NUM_THREADS`, of which the first number counts (`4,2` is a form it may have).

    0, one a core, without it.
    """
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(first) if first.isdecimal() else 0


def _spelled(shape: Sequence[object]) -> str:
    return "x".join(map(str, shape))
