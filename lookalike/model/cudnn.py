"""How cuDNN convolves, for a block of code: settings of the whole process, which are put back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from threading import Lock

import torch


class _Shared:
    """Threads in such blocks: the first one saves the settings, the last one puts them back."""

    lock = Lock()
    inside = 0
    before = (True, False)  # TF32, benchmark


@contextlib.contextmanager
def full_float32(choose_fastest: bool = False) -> Iterator[None]:
    """Convolutions of float32 in float32: by itself cuDNN rounds what it multiplies to TF32, of 10 bits, so
    that the features of a picture depend on the card, and those of close neighbours change places.

    choose_fastest: cuDNN tries its algorithms at the first batch of each shape. What is computed in half
    precision stays so. Without CUDA nothing happens. In several threads at once it holds until the last of
    them is done.
    """
    if not torch.cuda.is_available():
        yield
        return
    # torch.backends.cudnn.flags would turn off what it is not told to leave on, cuDNN itself included
    settings = torch.backends.cudnn
    with _Shared.lock:
        if not _Shared.inside:
            _Shared.before = settings.allow_tf32, settings.benchmark
        _Shared.inside += 1
        settings.allow_tf32, settings.benchmark = False, choose_fastest or settings.benchmark
    try:
        yield
    finally:
        with _Shared.lock:
            _Shared.inside -= 1
            if not _Shared.inside:
                settings.allow_tf32, settings.benchmark = _Shared.before
