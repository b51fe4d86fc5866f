"""What runs the graph of a model folder: a preprocessed batch in, features out."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from lookalike.core.errors import UserError, line_of, nearest_or_all
from lookalike.core.machine import available_threads, threads_asked_for
from lookalike.core.numbers import as_count
from lookalike.deploy.model_folder import ModelFolder

Floats = NDArray[np.float32]
Batch = NDArray[Any]
"""Preprocessed pictures: (N, C, H, W) of float32, or (N, H, W, 3) of uint8 where the graph normalises."""

Backend = Literal["auto", "onnx", "openvino", "torch"]
Precision = Literal["fp32", "fp16", "bf16"]


class Runtime(Protocol):
    """Anything that turns a batch of pictures into features (N, D).

    One whose `reentrant` is true may be called from several threads at once, of which each computes alone.
    One whose `takes_pixels` is true takes uint8 also where the graph of its folder does not.
    """

    def __call__(self, batch: Batch) -> Floats: ...


@runtime_checkable
class BeginsAhead(Protocol):
    """A runtime that computes behind the caller's back."""

    def begin(self, batch: Batch) -> Callable[[], Floats]:
        """Begin with a batch, which may be written to then; what is returned waits for its features."""


def open_runtime(
    folder: ModelFolder,
    backend: str = "auto",
    threads: int | None = None,
    device: str = "cpu",
    precision: str = "fp32",
    compile: bool = False,
) -> Runtime:
    """What runs a model folder.

    backend: `onnx` is onnxruntime; `openvino` needs `lookalike[openvino]` and `torch` `lookalike[train]`;
        `auto` is the fastest of those that are installed (`automatic_runtime`), on a GPU the first that can
        use it.
    threads: how many compute a batch; by default as many as OMP_NUM_THREADS says, or as there are cores.
    device: `cpu`, or `cuda` (`cuda:1`) where the backend can use such a device.
    precision, compile: of `torch`, see `deploy.runtimes.torch_runtime`; `auto` takes it for them on a GPU.

    Raises UserError where the backend is unknown or not installed, the graph is damaged, or the device is
    not there.
    """
    if backend not in get_args(Backend):
        raise UserError(
            f"unknown backend '{backend}'{nearest_or_all(str(backend), get_args(Backend), 'the help')}"
        )
    if threads is not None:
        threads = as_count(threads, "threads")
    options: tuple[Any, ...] = ()
    if precision != "fp32" or compile:
        backend, options = _with_torch(backend, device), (precision, compile)
    if backend == "onnx":
        return OnnxRuntime(folder.graph_file, threads, device)
    # by name, so that nobody needs the packages of a runtime that is not used
    module = importlib.import_module(f"lookalike.deploy.runtimes.{_module(backend)}")
    runtime: Runtime = module.open_folder(folder, threads, device, *options)
    return runtime


def _with_torch(backend: str, device: str) -> str:
    if backend == "torch" or (backend == "auto" and device_number(device) is not None):
        return "torch"
    raise UserError(
        f"backend '{backend}' computes in the precision of its graph and compiles nothing: precision and "
        "compile are of backend 'torch' (`export --precision` and `--quantize` make another graph)"
    )


def _module(backend: str) -> str:
    return "automatic_runtime" if backend == "auto" else f"{backend}_runtime"


@dataclass(frozen=True)
class GraphInput:
    """What a graph takes: its name, and the shape and type of a batch; a free dimension is None."""

    graph: Path
    name: str
    shape: tuple[int | None, ...]
    kind: np.dtype[Any]

    def check(self, batch: Batch) -> None:
        """Raise UserError where a batch does not fit."""
        fits = len(self.shape) == batch.ndim and all(
            wanted in (None, given) for wanted, given in zip(self.shape, batch.shape, strict=True)
        )
        if not fits:
            raise UserError(
                f"{self.graph} takes pictures of {_spelled(self.shape[1:])}, but the preprocessing gives "
                f"{_spelled(batch.shape[1:])}"
            )
        if batch.dtype != self.kind:
            raise UserError(
                f"{self.graph} takes pictures of {self.kind}, but the preprocessing gives {batch.dtype}"
            )


AT_ONCE = 4
"""Pictures that onnxruntime computes at once on a CPU, with more than two threads two for each.

Maps of more leave the caches: with two threads 32 at once take 1.2 times as long a picture (PPLCNetV2 at
224x224, `benchmarks/latency.py`).
"""


class OnnxRuntime:
    """The graph of a model folder in onnxruntime. Large batches are computed in parts on a CPU.

    threads: how many compute a batch; by default as many as OMP_NUM_THREADS says, or as there are cores.

    Raises UserError where the graph is damaged or takes something else than pictures, and where the device
    cannot be used; a call, where a batch does not fit.
    """

    def __init__(self, graph: Path, threads: int | None = None, device: str = "cpu") -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or threads_of_onnxruntime()
        options.log_severity_level = 3
        providers = _providers(device, onnxruntime.get_available_providers())
        try:
            self.session = onnxruntime.InferenceSession(str(graph), options, providers=providers)
        except Exception as error:  # onnxruntime raises its own, undocumented types for a damaged file
            raise UserError(f"{graph} cannot be read as an ONNX graph: {line_of(error)}") from None
        _refuse_another_provider(device, providers, self.session.get_providers())
        self.reentrant = device == "cpu" and options.intra_op_num_threads == 1
        computing = options.intra_op_num_threads or available_threads()
        self.at_once = max(AT_ONCE, 2 * computing) if device == "cpu" else None
        first = self.session.get_inputs()[0]
        shape = tuple(each if isinstance(each, int) else None for each in first.shape)
        if first.type not in _KINDS:
            raise UserError(f"{graph} takes {first.type}, which no preprocessing gives")
        self.input = GraphInput(graph, first.name, shape, np.dtype(_KINDS[first.type]))

    def __call__(self, batch: Batch) -> Floats:
        self.input.check(batch)
        parts = -(-len(batch) // self.at_once) if self.at_once else 1
        if parts < 2:
            return self._computed(batch)
        return np.concatenate([self._computed(each) for each in np.array_split(batch, parts)])

    def _computed(self, batch: Batch) -> Floats:
        (features,) = self.session.run(None, {self.input.name: batch})
        return np.asarray(features, dtype=np.float32)


def threads_of_onnxruntime() -> int:
    """Threads where none are named: as many as OMP_NUM_THREADS says, else as there are cores for us."""
    ours = available_threads()
    # 0 is a thread for each core of the machine, tied to it, whether or not this process may use it: with one
    # core of two, batches take up to twice as long. Where all are ours it is as fast as their number, and
    # counts two processors of one core once.
    return 0 if threads_asked_for() is None and ours == os.cpu_count() else ours


_KINDS: dict[str, type] = {
    "tensor(float)": np.float32,
    "tensor(uint8)": np.uint8,
    "tensor(float16)": np.float16,
}


def device_number(device: str) -> int | None:
    """Which GPU `cuda` or `cuda:1` means, None for the CPU. Raises UserError for another word."""
    if device == "cpu":
        return None
    name, _, number = str(device).partition(":")
    if name not in ("cuda", "gpu") or (number and not number.isdecimal()):
        raise UserError(f"unknown device {device!r} (known: cpu, cuda, cuda:1, …)")
    return int(number or 0)


def _providers(device: str, available: Sequence[str]) -> list[Any]:
    number = device_number(device)
    if number is None:
        return ["CPUExecutionProvider"]
    if "CUDAExecutionProvider" not in available:
        raise UserError(
            f"device '{device}': this onnxruntime computes on the CPU only; install onnxruntime-gpu in its "
            "place, or use backend 'torch'"
        )
    # as with PyTorch, float32 is float32: by itself this provider multiplies in TF32
    options = {"device_id": number, "use_tf32": 0}
    return [("CUDAExecutionProvider", options), "CPUExecutionProvider"]


def _refuse_another_provider(device: str, asked: Sequence[Any], given: Sequence[str]) -> None:
    """onnxruntime leaves out a provider that it cannot load, and goes on with the next."""
    name = asked[0] if isinstance(asked[0], str) else asked[0][0]
    if given[0] != name:
        raise UserError(
            f"device '{device}': onnxruntime cannot load {name} and would compute with {given[0]} (libraries "
            "of CUDA or cuDNN are missing, or there is no such GPU); use backend 'torch' or device 'cpu'"
        )


def _spelled(shape: Sequence[object]) -> str:
    return "x".join("?" if each is None else str(each) for each in shape)
