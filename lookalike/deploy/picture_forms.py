"""What may stand for a picture: a path, bytes, an array, a Pillow image, a tensor, or what gives one."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from lookalike.core.errors import BrokenImage, UserError, line_of
from lookalike.images import as_rgb
from lookalike.images.decode import IN_MEMORY
from lookalike.images.picture_files import path_of

Source = Any
"""One picture: a path or `file://` URL, bytes of a file, an RGB array (H, W, 3) of uint8 (or grey, RGBA,
uint16), a Pillow image, a torch tensor (C, H, W), or a callable without arguments that gives one of these.
"""

_CHANNELS = (1, 3, 4)
_pillow = threading.Lock()


def is_one(sources: Any) -> bool:
    """Whether this is one picture rather than several; arrays and tensors of four dimensions are several."""
    if isinstance(sources, np.ndarray) or _is_tensor(sources):
        return bool(sources.ndim < 4)
    return isinstance(sources, (str, os.PathLike, bytes, bytearray, memoryview)) or _is_pillow(sources)


def each_source(sources: Iterable[Source]) -> Iterator[Source]:
    """Pictures one by one; an array (N, H, W, 3) or tensor (N, C, H, W) among them is N pictures.

    Raises UserError for what is neither a picture nor several.
    """
    several: Iterable[Any] = [sources] if is_one(sources) else sources
    if not (hasattr(several, "__iter__") or hasattr(several, "__getitem__")):
        raise UserError(
            "pictures must be one (a path, bytes, an RGB array, a tensor or a Pillow image), or a list or "
            f"iterator of them, got {type(sources).__name__}"
        )
    for source in several:
        if (isinstance(source, np.ndarray) or _is_tensor(source)) and source.ndim == 4:
            yield from source
        else:
            yield source


def as_picture(source: Source) -> Any:
    """What a preprocessing takes: a path, bytes or an RGB array.

    Raises UserError for what is no picture, BrokenImage for a Pillow image whose file is damaged, and where
    a callable raises what files and decoders do (OSError, ValueError).
    """
    if callable(source):
        try:
            source = source()
        except (OSError, ValueError) as error:
            raise BrokenImage(IN_MEMORY, f"cannot be read: {line_of(error)}") from error
    if isinstance(source, str):
        return path_of(source)
    if isinstance(source, os.PathLike):
        return os.fsdecode(source)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return source
    if _is_tensor(source):
        return _from_tensor(source)
    if _is_pillow(source) and getattr(source, "fp", None) is not None:
        # Pillow reads the file only now, which two threads must not do at once where a list holds it twice
        with _pillow:
            return as_rgb(source)
    return as_rgb(source)


def _is_pillow(source: Any) -> bool:
    # known by its method, so that nobody imports Pillow for that
    return hasattr(source, "getexif")


def _is_tensor(source: Any) -> bool:
    # likewise: who has a tensor has imported torch, and nobody else needs it
    return hasattr(source, "detach") and hasattr(source, "is_floating_point")


def _from_tensor(tensor: Any) -> np.ndarray:
    """(C, H, W) of uint8, or of floats between 0 and 1, which are rounded to the 256 levels of a file."""
    if tensor.ndim != 3 or tensor.shape[0] not in _CHANNELS:
        raise UserError(
            f"a tensor must be (3, height, width), or (1, …) grey or (4, …) RGBA, got {tuple(tensor.shape)}"
        )
    if not tensor.numel():
        raise UserError(f"a tensor must hold pixels, got {tuple(tensor.shape)}")
    tensor = tensor.detach().cpu()
    if tensor.is_floating_point():
        values = tensor.float().numpy()
        if not (values.min() >= 0 and values.max() <= 1):
            raise UserError(
                "a tensor of floats must lie between 0 and 1: give the picture as it is, not normalised"
            )
        pixels = np.floor(values * np.float32(255) + np.float32(0.5)).astype(np.uint8)
    elif str(tensor.dtype) == "torch.uint8":
        pixels = tensor.numpy()
    else:
        raise UserError(f"a tensor must hold uint8, or floats between 0 and 1, got {tensor.dtype}")
    return as_rgb(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
