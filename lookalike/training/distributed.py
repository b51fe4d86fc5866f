"""Which device a run uses, and the little that its processes say to each other."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lookalike.core import process
from lookalike.core.errors import UserError
from lookalike.core.log import warn_once


def choose_device(name: str, require_gpu: bool = False) -> torch.device:
    """The torch device for `Global.device`: `auto` takes a GPU where there is one.

    `gpu` without a GPU falls back to the CPU with one warning; with `require_gpu` that is an error.
    """
    kind, _, number = name.lower().partition(":")
    if kind in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        if number and process.world_size() > 1:
            raise UserError(
                f"Global.device is '{name}': with several processes each takes its own GPU, write 'gpu'"
            )
        index = int(number) if number else process.local_rank() % torch.cuda.device_count()
        if index >= torch.cuda.device_count():
            raise UserError(
                f"Global.device is '{name}', but this machine has {torch.cuda.device_count()} GPUs"
            )
        device = torch.device("cuda", index)
        torch.cuda.set_device(device)
        return device
    if kind in ("auto", "gpu", "mps") and torch.backends.mps.is_available():
        return torch.device("mps")
    if require_gpu:
        raise UserError(f"a GPU is required, but Global.device is '{name}' and no GPU can be used here")
    if kind in ("gpu", "cuda", "mps"):
        warn_once(
            f"Global.device is '{name}', but this machine has no usable GPU: running on the CPU "
            "(with Global.require_gpu: True that is an error)"
        )
    elif kind not in ("auto", "cpu"):
        raise UserError(f"Global.device is '{name}'; available here are auto, cpu, gpu (cuda) and mps")
    return torch.device("cpu")


@contextlib.contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Join the processes that `torchrun` started (gloo on CPU, NCCL on GPU).

    Nothing to do for a single one.
    """
    if process.world_size() == 1 or dist.is_initialized():
        yield
        return
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=timedelta(minutes=30))
    try:
        yield
    finally:
        dist.destroy_process_group()


def any_process(flag: bool) -> bool:
    """Whether the flag is set in at least one process. All processes must call it at the same point."""
    if not dist.is_initialized():
        return flag
    value = torch.tensor([int(flag)])  # on the CPU: no wait for a GPU
    dist.all_reduce(value, op=dist.ReduceOp.MAX)
    return bool(value.item())


def mean_over_processes(values: dict[str, float]) -> dict[str, float]:
    """The mean of each number over all processes."""
    if not dist.is_initialized():
        return values
    tensor = torch.tensor(list(values.values()), dtype=torch.float64)
    dist.all_reduce(tensor)
    return dict(zip(values, (tensor / dist.get_world_size()).tolist(), strict=True))


def gather_objects(value: Any) -> list[Any]:
    """One small object of every process, in rank order, at every process."""
    if not dist.is_initialized():
        return [value]
    gathered: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(gathered, value)
    return gathered


def share(tensors: Iterable[Tensor]) -> None:
    """Give every process the values that the first one has, in place."""
    if dist.is_initialized():
        for tensor in tensors:
            dist.broadcast(tensor, src=0)


def replicate(model: nn.Module, device: torch.device, unused_parts: bool) -> nn.Module:
    """The model with gradients that are averaged over all processes; the model itself where there is one.

    `unused_parts` says that some parameters get no gradient in a step.
    """
    if not dist.is_initialized():
        return model
    ids = [device.index] if device.type == "cuda" else None
    return nn.parallel.DistributedDataParallel(model, device_ids=ids, find_unused_parameters=unused_parts)


def without_exchange(model: nn.Module) -> contextlib.AbstractContextManager[Any]:
    """A block whose gradients stay in the process: batches that are added up before an update."""
    if isinstance(model, nn.parallel.DistributedDataParallel):
        return model.no_sync()
    return contextlib.nullcontext()


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Average the gradients of parameters outside the replicated model: those of losses."""
    if dist.is_initialized():
        for parameter in parameters:
            if parameter.grad is not None:
                dist.all_reduce(parameter.grad)
                parameter.grad /= dist.get_world_size()


def average(tensors: Iterable[Tensor]) -> None:
    """Give every process the mean of the tensors over all processes, in place."""
    if dist.is_initialized():
        for tensor in tensors:
            dist.all_reduce(tensor)
            tensor /= dist.get_world_size()


def barrier() -> None:
    """Wait until every process is here."""
    if dist.is_initialized():
        dist.barrier()
