"""Rows of all processes of a `torch.distributed` group brought to rank 0, and its findings told to all.

Without a process group everything stays as it is. Only numbers and JSON travel, never pickled objects.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist

from lookalike.core.errors import LookalikeError, UserError


def is_distributed() -> bool:
    """Whether a process group with more than one process is up."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def _device() -> torch.device:
    if dist.get_backend() == "nccl":  # NCCL moves memory of its own device only
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def gather_parts(rows: torch.Tensor) -> list[torch.Tensor] | None:
    """The rows (N, D) of every process, by rank, on the CPU of rank 0; None on the others.

    N may differ between processes; a process without rows need not know D.
    """
    if not is_distributed():
        return [rows.cpu()]
    device = _device()
    shape = torch.tensor(rows.shape, dtype=torch.int64, device=device)
    shapes = [torch.empty_like(shape) for _ in range(dist.get_world_size())]
    dist.all_gather(shapes, shape)
    counts = [int(each[0]) for each in shapes]
    most, width = max(counts), max(int(each[1]) for each in shapes)
    padded = torch.zeros(most, width, dtype=rows.dtype, device=device)
    if len(rows):
        padded[: len(rows)] = rows.to(device)
    parts = [torch.empty_like(padded) for _ in counts] if dist.get_rank() == 0 else None
    dist.gather(padded, parts, dst=0)
    return None if parts is None else [part[:count].cpu() for part, count in zip(parts, counts, strict=True)]


def gather_rows(rows: torch.Tensor) -> torch.Tensor | None:
    """The rows (N, D) of all processes below each other, on rank 0; None on the others."""
    parts = gather_parts(rows)
    return None if parts is None else torch.cat(parts)


def gather_json(value: Any) -> list[Any] | None:
    """The JSON values of all processes, by rank, on rank 0; None on the others."""
    if not is_distributed():
        return [value]
    parts = gather_parts(_to_bytes(value)[:, None])
    return None if parts is None else [_from_bytes(part[:, 0]) for part in parts]


def broadcast_json(value: Any) -> Any:
    """The JSON value of rank 0, on every process."""
    if not is_distributed():
        return value
    device = _device()
    content = _to_bytes(value).to(device)
    length = torch.tensor([len(content)], dtype=torch.int64, device=device)
    dist.broadcast(length, src=0)
    if dist.get_rank() != 0:
        content = torch.empty(int(length), dtype=torch.uint8, device=device)
    dist.broadcast(content, src=0)
    return _from_bytes(content.cpu())


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Where the block fails on one process, raise on all of them, so that none waits for that one."""
    error: Exception | None = None
    try:
        yield
    except Exception as raised:
        error = raised
    if not is_distributed():
        if error is not None:
            raise error
        return
    note = None if error is None else {"message": str(error), "user": isinstance(error, UserError)}
    notes = broadcast_json(gather_json(note))
    if error is not None:
        raise error
    for failed in filter(None, notes):
        raise (UserError if failed["user"] else LookalikeError)(failed["message"])


def _to_bytes(value: Any) -> torch.Tensor:
    return torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)


def _from_bytes(content: torch.Tensor) -> Any:
    return json.loads(content.numpy().tobytes().decode())
