"""Which of the processes of a `torchrun` start this one is.

Reads the environment only, so that it needs no torch.
"""

from __future__ import annotations

import os


def rank() -> int:
    """Number of this process among all, 0 when there is only one."""
    return int(os.environ.get("RANK", "0"))


def local_rank() -> int:
    """Number of this process on this machine."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def world_size() -> int:
    """How many processes were started together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main() -> bool:
    """Whether this process writes logs and files."""
    return rank() == 0
