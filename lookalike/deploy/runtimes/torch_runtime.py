"""A model folder in PyTorch, on the CPU or a GPU. Needs torch."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from lookalike.core.errors import UserError
from lookalike.deploy.architecture import load_torch
from lookalike.deploy.model_folder import ModelFolder
from lookalike.deploy.runtimes.runtime import Batch, Floats, device_number


class TorchRuntime:
    """A module of PyTorch as a runtime. May be called from several threads at once.

    Pictures are laid out with their channels last, for which both oneDNN and cuDNN have their fastest
    kernels. `threads` is a setting of PyTorch for the whole process: without it, it stays as it is.
    """

    def __init__(self, module: nn.Module, device: torch.device, threads: int | None = None) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self.device = device
        self.module = module.eval().to(device).to(memory_format=torch.channels_last)

    def __call__(self, batch: Batch) -> Floats:
        with torch.inference_mode():
            pictures = torch.from_numpy(batch).to(self.device)
            if pictures.is_floating_point() and pictures.ndim == 4:
                pictures = pictures.contiguous(memory_format=torch.channels_last)
            return np.asarray(self.module(pictures).cpu(), dtype=np.float32)


def open_folder(folder: ModelFolder, threads: int | None, device: str) -> TorchRuntime:
    """What runs the weights of a model folder in PyTorch; see `open_runtime`."""
    return TorchRuntime(load_torch(folder), torch_device(device), threads)


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
