"""Preprocessing in two parts: what changes the geometry of a picture, and arithmetic with its pixels.

A graph whose input is uint8 does the second part itself. Nothing is computed in another way for that: the
first part gives the pixels that the whole chain has at this place, and the second repeats its operations on
float32 one by one.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from lookalike.core.errors import UserError
from lookalike.images.operations import (
    DecodeImage,
    Normalize,
    NormalizeImage,
    Operation,
    Padv2,
    ToCHWImage,
    ToTensor,
)
from lookalike.images.operations.base import Size

_CHANNELS = 3


class Step(NamedTuple):
    """One operation on float32 values: with one number, or one for each channel."""

    operation: Literal["multiply", "subtract", "divide"]
    values: np.ndarray


class Arithmetic(NamedTuple):
    """What makes a picture of RGB pixels one that a model takes.

    reversed: the model takes BGR.
    """

    steps: tuple[Step, ...]
    reversed: bool = False

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """(…, H, W, 3) uint8 to (…, 3, H, W) float32."""
        values = np.moveaxis(pixels[..., ::-1] if self.reversed else pixels, -1, -3).astype(np.float32)
        for operation, numbers in self.steps:
            values = getattr(np, operation)(values, numbers.reshape(-1, 1, 1))
        return values


class Pixels:
    """The part before: a file, bytes, array or Pillow image to RGB pixels (H, W, 3) of uint8.

    image_shape: (3, H, W), None where it depends on the picture.
    """

    def __init__(self, operations: Sequence[Operation]) -> None:
        self.operations = list(operations)
        size: Size | None = None
        for operation in self.operations:
            size = operation.output_size(size)
        self.image_shape = (_CHANNELS, size[1], size[0]) if size else None

    def __call__(self, source: Any) -> np.ndarray:
        """The pixels, contiguous. Raises BrokenImage for a picture that cannot be decoded."""
        image = source
        for operation in self.operations:
            image = operation(image)
        return np.ascontiguousarray(image)


class Split(NamedTuple):
    """Both parts of a preprocessing: `arithmetic(pixels(source))` is what all of it gives, bit for bit."""

    pixels: Pixels
    arithmetic: Arithmetic


def split(operations: Sequence[Operation]) -> Split:
    """Part a chain of operations, which begins with decoding.

    Raises UserError where it cannot be parted: the arithmetic stands before an operation on the geometry,
    or gives something else than three channels of float32.
    """
    decode, *rest = operations
    assert isinstance(decode, DecodeImage)
    geometry: list[Operation] = [_rgb(decode)]
    steps: list[Step] = []
    began: Operation | None = None
    for operation in rest:
        own = _steps(operation)
        if own is not None:
            steps += own
            began = began or operation
        elif began is not None:
            raise UserError(
                f"pixels cannot be normalised behind the preprocessing: {type(operation).__name__} stands "
                f"after {type(began).__name__}, and works on what that gives"
            )
        else:
            geometry.append(operation if decode.to_rgb else _reversed_fill(operation))
    return Split(Pixels(geometry), Arithmetic(tuple(steps), not decode.to_rgb))


def _rgb(decode: DecodeImage) -> DecodeImage:
    """The decoding as it is, but to RGB with channels last."""
    if decode.to_rgb and not decode.channel_first:
        return decode
    changed = copy.copy(decode)
    changed.to_rgb, changed.channel_first = True, False
    return changed


def _reversed_fill(operation: Operation) -> Operation:
    """An operation of a BGR chain for RGB: only the colour of a border knows the order of channels."""
    fill = getattr(operation, "fill", None)
    if not isinstance(fill, list):
        return operation
    changed = copy.copy(operation)
    changed.fill = fill[::-1]  # type: ignore[attr-defined]
    return changed


def _steps(operation: Operation) -> list[Step] | None:
    """The arithmetic of an operation; None of one on the geometry, which keeps values of 0 … 255."""
    if isinstance(operation, ToCHWImage):
        return []
    if isinstance(operation, ToTensor):
        return [_step("divide", 255)]
    if isinstance(operation, Normalize):
        return [_step("subtract", operation.mean), _step("divide", operation.std)]
    if isinstance(operation, NormalizeImage):
        if operation.output_fp16 or operation.channel_num != _CHANNELS:
            raise UserError(
                "pixels cannot be normalised behind the preprocessing: its NormalizeImage gives "
                f"{'float16' if operation.output_fp16 else f'{operation.channel_num} channels'}"
            )
        first = _step("multiply", operation.scale)
        return [first, _step("subtract", operation.mean), _step("divide", operation.std)]
    if isinstance(operation, Padv2):
        raise UserError(
            "pixels cannot be normalised behind the preprocessing: its Padv2 gives float32, not whole numbers"
        )
    return None


def _step(operation: Literal["multiply", "subtract", "divide"], values: float | Sequence[float]) -> Step:
    return Step(operation, np.atleast_1d(np.asarray(values, np.float32)))
