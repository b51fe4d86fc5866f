"""What this machine gives us: threads, its processor, and a place for what need not be done twice."""

from __future__ import annotations

import contextlib
import math
import os
import platform
from functools import cache
from pathlib import Path

_PROCESSORS = Path("/proc/cpuinfo")
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def cache_folder() -> Path:
    """Where it is kept: LOOKALIKE_CACHE, or `lookalike` in XDG_CACHE_HOME or in `~/.cache`."""
    if named := os.environ.get("LOOKALIKE_CACHE"):
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lookalike"


def threads_asked_for() -> int | None:
    """`OMP_NUM_THREADS`, of which the first number counts (`4,2` is a form it may have); None without it."""
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return (int(first) or None) if first.isdecimal() else None


def available_threads() -> int:
    """How many threads compute at once: as many as are asked for, else as there are processors for us.

    In a container these may be fewer than the machine has: its processors may be listed, or their time cut.
    """
    if asked := threads_asked_for():
        return asked
    affinity = getattr(os, "sched_getaffinity", None)  # not on every system
    processors = len(affinity(0)) if affinity else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):
        quota, period = _QUOTA.read_text(encoding="ascii").split()
        if quota != "max":
            processors = min(processors, max(1, math.ceil(int(quota) / int(period))))
    return processors


@cache
def processor() -> str:
    """The name of the processor's model with its vector instructions, such as `AMD EPYC avx2 fma`."""
    name, flags = platform.processor() or platform.machine(), set[str]()
    with contextlib.suppress(OSError):
        for line in _PROCESSORS.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                name = value.strip()
            elif key.strip() in ("flags", "Features"):
                flags = set(value.split())
                break
    telling = sorted(flag for flag in flags if flag.startswith(("avx", "fma", "amx", "asimd", "sve", "i8mm")))
    return " ".join([name, *telling])


def has_integer_dot_products() -> bool:
    """Whether the processor multiplies and adds bytes in one instruction (VNNI), which makes int8 fast."""
    return any("vnni" in word for word in processor().split())
