"""How cuDNN convolves, for a block of code: a setting of the whole process, which is put back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def full_float32(choose_fastest: bool = False) -> Iterator[None]:
    """Convolutions of float32 in float32: by itself cuDNN rounds what it multiplies to TF32, of 10 bits, so
    that the features of a picture depend on the card, and those of close neighbours change places.

    choose_fastest: cuDNN tries its algorithms at the first batch of each shape. What is computed in half
    precision stays so. Without CUDA nothing happens.
    """
    if not torch.cuda.is_available():
        yield
        return
    # torch.backends.cudnn.flags would turn off what it is not told to leave on, cuDNN itself included
    settings = torch.backends.cudnn
    tf32, benchmark = settings.allow_tf32, settings.benchmark
    settings.allow_tf32, settings.benchmark = False, choose_fastest or benchmark
    try:
        yield
    finally:
        settings.allow_tf32, settings.benchmark = tf32, benchmark
