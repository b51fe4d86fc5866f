"""A model folder in PyTorch, on the CPU or a GPU. Needs torch."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable
from threading import Lock

import numpy as np
import torch
from torch import nn

from lookalike.core.errors import UserError
from lookalike.deploy.architecture import load_torch
from lookalike.deploy.deployed import FromPixels
from lookalike.deploy.model_folder import ModelFolder
from lookalike.deploy.runtimes.runtime import Batch, Floats, Precision, device_number
from lookalike.model.cudnn import full_float32

IN_FLIGHT = 2
"""Batches that a GPU holds at once: one is copied there while another is computed."""

_TYPES = {"fp32": None, "fp16": torch.float16, "bf16": torch.bfloat16}


class TorchRuntime:
    """A module of PyTorch as a runtime. May be called from several threads at once.

    Pictures are laid out with their channels last, for which both oneDNN and cuDNN have their fastest
    kernels.

    threads: a setting of PyTorch for the whole process; without it, it stays as it is.
    precision: what the layers compute in. Weights stay float32 and are cast on the way (autocast), and so do
        norms and means: a feature has length 1 to float32's rounding.
    compile: with `torch.compile`, which takes a while at the first batch, and may do so again at a larger
        one; a batch with fewer pictures than one before is filled up to it.
    takes_pixels: the module takes RGB pixels (N, H, W, 3) of uint8, a quarter of the bytes to copy.

    Raises UserError for an unknown precision; a call, where the GPU has not enough memory.

    On a GPU, batches take turns on two streams, so that it does not wait for copies, nor for what the
    processor does between two batches.
    """

    def __init__(
        self,
        module: nn.Module,
        device: torch.device,
        threads: int | None = None,
        precision: Precision = "fp32",
        compile: bool = False,
        takes_pixels: bool = False,
    ) -> None:
        if precision not in _TYPES:
            raise UserError(f"unknown precision '{precision}' (known: {', '.join(_TYPES)})")
        if threads is not None:
            torch.set_num_threads(threads)
        self.device, self.precision, self.takes_pixels = device, precision, takes_pixels
        self.module = module.eval().to(device).to(memory_format=torch.channels_last)
        self._type = _TYPES[precision]
        self._compiled = compile
        # freezing folds batch norms into their convolutions and casts weights once
        self._run = torch.compile(self.module, options={"freezing": True}) if compile else self.module
        self._largest = 0
        self._launching = Lock()
        self.reentrant = device.type == "cuda"
        self._streams: deque[torch.cuda.Stream] = deque()
        if self.reentrant:
            for _ in range(IN_FLIGHT):
                self._streams.append(torch.cuda.Stream(device))  # type: ignore[no-untyped-call]
            torch.cuda.synchronize(device)  # these streams do not wait for the one that laid out the weights

    def __call__(self, batch: Batch) -> Floats:
        return self.begin(batch)()

    def begin(self, batch: Batch) -> Callable[[], Floats]:
        """See `BeginsAhead`; on the CPU the features are there already."""
        count = len(batch)
        if self._compiled and count < self._largest:
            batch = np.concatenate([batch, np.repeat(batch[-1:], self._largest - count, axis=0)])
        if not self._streams:
            found = self._launched(batch).numpy()
            self._largest = max(self._largest, len(batch))
            return lambda: found[:count]
        with self._launching:  # one thread launches at a time; each waits for itself
            stream = self._streams[0]
            self._streams.rotate()
            try:
                with torch.cuda.stream(stream), full_float32(choose_fastest=True):
                    features = self._launched(batch)
            except torch.cuda.OutOfMemoryError:
                raise UserError(
                    f"the GPU has not enough memory for {IN_FLIGHT} batches of {len(batch)} pictures: give a "
                    "smaller batch size"
                ) from None
            if len(batch) > self._largest:  # what was compiled for it is there for both streams
                stream.synchronize()
                self._largest = len(batch)

        def wait() -> Floats:
            with torch.cuda.stream(stream):
                return np.asarray(features.cpu().numpy()[:count])

        return wait

    def _launched(self, batch: Batch) -> torch.Tensor:
        casts = torch.autocast(self.device.type, self._type) if self._type else contextlib.nullcontext()
        with torch.inference_mode(), casts:
            pictures = torch.from_numpy(batch).to(self.device, non_blocking=True)
            if pictures.is_floating_point() and pictures.ndim == 4:
                pictures = pictures.contiguous(memory_format=torch.channels_last)
            features: torch.Tensor = self._run(pictures)
            return features.float()


def open_folder(
    folder: ModelFolder,
    threads: int | None,
    device: str,
    precision: Precision = "fp32",
    compile: bool = False,
) -> TorchRuntime:
    """What runs the weights of a model folder in PyTorch; see `open_runtime`.

    On a GPU it takes pixels, also where the graph of the folder takes normalised pictures, wherever the
    preprocessing can be parted so.
    """
    where = torch_device(device)
    module, takes_pixels = load_torch(folder), folder.input != "float32_nchw"
    if where.type == "cuda" and not takes_pixels:
        with contextlib.suppress(UserError):  # a preprocessing that cannot be parted stays where it is
            module = FromPixels(module, folder.preprocessing().split().arithmetic)
            takes_pixels = True
    return TorchRuntime(module, where, threads, precision, compile, takes_pixels)


def torch_device(device: str) -> torch.device:
    """The device of this name. Raises UserError where PyTorch cannot use it."""
    number = device_number(device)
    if number is None:
        return torch.device("cpu")
    if number >= torch.cuda.device_count():
        found = torch.cuda.device_count()
        seen = f"sees {found} of them" if found else "sees no GPU"
        raise UserError(f"device '{device}': PyTorch {seen}; use device 'cpu'")
    return torch.device("cuda", number)
