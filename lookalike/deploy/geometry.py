"""Resizing, cropping and padding as a module: pictures of any size in, pictures of one size out.

It gives the very pixels of the operations in NumPy and OpenCV. OpenCV resizes 8-bit pixels in whole numbers,
which are written out here in float32: each is below 2 ** 24, so that no runtime can round it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lookalike.core.errors import UserError
from lookalike.images import Preprocess
from lookalike.images.operations import (
    CenterCrop,
    CropImage,
    CropImageAtRatio,
    DecodeImage,
    Operation,
    Pad,
    PadSquare,
    Resize,
    ResizeImage,
)
from lookalike.images.operations.base import Size, colour

_CHANNELS = 3


class _Frame(NamedTuple):
    """Height and width, scalars: they are known when a picture is there."""

    height: Tensor
    width: Tensor


@dataclass(frozen=True)
class _Moved:
    """A crop or a border: the place (row, column) of its result is (row + top, column + left) of what it is
    given; beyond that there is a colour.
    """

    given: _Frame
    top: Tensor
    left: Tensor
    fill: Tensor


class _Neighbours(NamedTuple):
    """For each new place along a side: the two old ones beside it, and their weights, which sum to 2048."""

    first: Tensor
    second: Tensor
    before: Tensor
    after: Tensor


class Geometry(nn.Module):
    """RGB pixels (N, H, W, 3) of uint8 to (N, height, width, 3) of uint8, as a preprocessing does it.

    It knows crops, borders of one colour and one bilinear resize of OpenCV. Raises UserError, which names
    the operation, for others, and where the result is not of one size for all pictures.
    """

    def __init__(self, preprocess: Preprocess) -> None:
        super().__init__()
        pixels = preprocess.split().pixels
        decode, *self.operations = pixels.operations
        assert isinstance(decode, DecodeImage)
        _check(self.operations)
        if pixels.image_shape is None:
            raise UserError(
                "a graph cannot take pictures of any size behind this preprocessing, whose result is not of "
                "one size: it needs a resize or a crop to a fixed size"
            )
        _, self.height, self.width = pixels.image_shape
        for index, operation in enumerate(self.operations):
            if isinstance(operation, (Pad, PadSquare)):
                fill = torch.tensor(colour(operation.fill, _CHANNELS, type(operation).__name__))
                self.register_buffer(f"fill_{index}", fill.round().clamp(0, 255), persistent=False)
        self.register_buffer("black", torch.zeros(_CHANNELS), persistent=False)
        self.black: Tensor

    def forward(self, pixels: Tensor) -> Tensor:
        frame = _Frame(*(torch.scalar_tensor(side, device=pixels.device) for side in pixels.shape[1:3]))
        before: list[_Moved] = []
        after: list[_Moved] = []
        resized: tuple[_Frame, _Frame] | None = None
        for index, operation in enumerate(self.operations):
            moved, wanted = self._planned(operation, index, frame)
            if moved is not None:
                (before if resized is None else after).append(moved[0])
                frame = moved[1]
            if wanted is not None:
                resized = (frame, wanted)
                frame = wanted
        rows = torch.arange(self.height, device=pixels.device, dtype=torch.float32)
        columns = torch.arange(self.width, device=pixels.device, dtype=torch.float32)
        rows, columns, outside = _traced_back(after, rows, columns)
        taken = _Taken(pixels, before)
        if resized is None:
            values = taken(rows, columns)
        else:
            given, wanted = resized
            values = _bilinear(
                taken,
                _neighbours(rows, given.height, wanted.height),
                _neighbours(columns, given.width, wanted.width),
            )
        return _filled(values, outside).to(torch.uint8)

    def _planned(
        self, operation: Operation, index: int, frame: _Frame
    ) -> tuple[tuple[_Moved, _Frame] | None, _Frame | None]:
        """What an operation does to a picture of this size: how it moves it, and to which size it resizes."""
        height, width = frame

        def cut(new: _Frame, halved: str) -> tuple[_Moved, _Frame]:
            top, left = ((old - side) / 2 for old, side in zip(frame, new, strict=True))
            top, left = getattr(torch, halved)(top), getattr(torch, halved)(left)
            return _Moved(frame, top, left, self.black), new

        def fixed(size: Size) -> _Frame:
            return _Frame(torch.full_like(height, size[1]), torch.full_like(width, size[0]))

        if isinstance(operation, CropImageAtRatio):
            share = operation.size / (operation.size + operation.pad)
            side = (share * torch.minimum(height, width).double()).floor().clamp_min(1).float()
            return cut(_Frame(side, side), "floor"), fixed((operation.size, operation.size))
        if isinstance(operation, (CropImage, CenterCrop)):
            size = operation.output_size(None)
            assert size is not None
            return cut(fixed(size), "floor" if isinstance(operation, CropImage) else "round"), None
        if isinstance(operation, PadSquare):
            side = torch.maximum(height, width)
            top, left = torch.floor((side - height) / 2), torch.floor((side - width) / 2)
            return (_Moved(frame, -top, -left, self.get_buffer(f"fill_{index}")), _Frame(side, side)), None
        if isinstance(operation, Pad):
            west, north, east, south = operation.widths
            larger = _Frame(height + (north + south), width + (west + east))
            top, left = torch.full_like(height, -north), torch.full_like(width, -west)
            return (_Moved(frame, top, left, self.get_buffer(f"fill_{index}")), larger), None
        assert isinstance(operation, (ResizeImage, Resize))
        size = operation.output_size(None)
        if size is not None:
            return None, fixed(size)
        short = torch.minimum(height, width).double()
        if isinstance(operation, ResizeImage):
            assert operation.resize_short
            ratio = operation.resize_short / short
            return None, _Frame(*((side.double() * ratio).round().float() for side in frame))
        assert isinstance(operation.size, int)
        sides = ((operation.size * side.double() / short).floor().clamp_min(1).float() for side in frame)
        return None, _Frame(*sides)


def _check(operations: Sequence[Operation]) -> None:
    """Raise UserError for what is not written here."""
    resized: Operation | None = None
    least: int | None = None
    for operation in operations:
        name = type(operation).__name__
        why = None
        resizes = isinstance(operation, (ResizeImage, Resize, CropImageAtRatio))
        if resizes and resized is not None:
            why = f"its {type(resized).__name__} has resized it before"
        elif resizes:
            resized = operation
            how = operation.interpolation or "bilinear"  # type: ignore[attr-defined]
            backend = getattr(operation, "backend", "cv2")
            if (backend, how) != ("cv2", "bilinear"):
                why = f"it resizes with {how} of {backend}, and only bilinear of cv2 is written there"
            size = operation.output_size(None)
            least = min(size) if size else getattr(operation, "resize_short", None)
        elif isinstance(operation, CropImage) and operation.reference_behaviour:
            size = operation.output_size(None)
            if least is None or size is None or max(size) > least:
                why = "with Global.reference_behaviour it cuts a strip of odd size of smaller pictures"
        elif isinstance(operation, Pad) and not operation.one_colour:
            why = f"padding_mode '{operation.padding_mode}' is not written there"
        elif not isinstance(operation, (CropImage, CenterCrop, Pad, PadSquare)):
            why = "it is not written there"
        if why is not None:
            raise UserError(f"the graph cannot do {name} itself: {why}; export with --input uint8")


def _traced_back(
    moves: Sequence[_Moved], rows: Tensor, columns: Tensor
) -> tuple[Tensor, Tensor, list[tuple[Tensor, Tensor]]]:
    """Where places lie in what was given, those that are outside in its border, and their colours."""
    outside: list[tuple[Tensor, Tensor]] = []
    for moved in reversed(moves):
        rows, columns = rows + moved.top, columns + moved.left
        beyond = [
            (places < 0) | (places >= side) for places, side in zip((rows, columns), moved.given, strict=True)
        ]
        outside.insert(0, (beyond[0][:, None] | beyond[1], moved.fill))
        rows = rows.clamp_min(0).minimum(moved.given.height - 1)
        columns = columns.clamp_min(0).minimum(moved.given.width - 1)
    return rows, columns, outside


def _filled(values: Tensor, outside: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    for places, fill in outside:
        values = torch.where(places[:, :, None], fill, values)
    return values


class _Taken:
    """Pixels (N, rows, columns, 3), as float32, of pictures that were moved before."""

    def __init__(self, pixels: Tensor, moves: Sequence[_Moved]) -> None:
        self.width = pixels.shape[2]
        self.pixels, self.moves = pixels.flatten(1, 2), moves

    def __call__(self, rows: Tensor, columns: Tensor) -> Tensor:
        rows, columns, outside = _traced_back(self.moves, rows, columns)
        places = rows.long()[:, None] * self.width + columns.long()
        values = torch.unflatten(self.pixels.index_select(1, places.flatten()), 1, places.shape)
        return _filled(values.float(), outside)


def _neighbours(places: Tensor, given: Tensor, wanted: Tensor) -> _Neighbours:
    """OpenCV's: the centre of a new pixel among the old ones, in float32, and its share in 11 bits."""
    centre, step = (2 * places + 1) * given - wanted, 2 * wanted
    first = (centre / step).floor()
    # the share again by what is left, in which a runtime that multiplies by 1 / step loses nothing; a place
    # of OpenCV is rounded as a whole, so that less is left of a share the further right it is
    share = ((centre - first * step) / step + first) - first
    last = given - 1
    return _Neighbours(
        first.clamp_min(0).minimum(last),
        (first + 1).clamp_min(0).minimum(last),
        ((1 - share) * 2048).round(),
        (share * 2048).round(),
    )


def _bilinear(taken: _Taken, rows: _Neighbours, columns: _Neighbours) -> Tensor:
    """(Σ ⌊weight · ⌊mixed / 16⌋ / 65536⌋ + 2) / 4 over the rows above and below, `mixed` over columns."""
    # channels lie in one line with columns: runtimes repeat a weight for each of three values slowly
    before, after = (
        each[:, None].expand(-1, _CHANNELS).flatten() for each in (columns.before, columns.after)
    )

    def mixed(row: Tensor, weight: Tensor) -> Tensor:
        left, right = (taken(row, side).flatten(2) for side in (columns.first, columns.second))
        sums = left * before + right * after
        sixteenth = (sums / 16).floor()
        # weight · sixteenth has up to 26 bits: the lower five bits of the weight on their own
        weight = weight[:, None]
        upper = (weight / 32).floor()
        lower = ((weight - 32 * upper) * sixteenth / 32).floor()
        return ((upper * sixteenth + lower) / 2048).floor()

    total = mixed(rows.first, rows.before) + mixed(rows.second, rows.after)
    return torch.unflatten(((total + 2) / 4).floor(), 2, (-1, _CHANNELS))
