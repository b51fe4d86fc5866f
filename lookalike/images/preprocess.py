"""Preprocess: what has to be done to a picture before a model sees it, as one object that a model folder
keeps.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lookalike.core.component import Component, Place
from lookalike.core.errors import UserError
from lookalike.images.operations import (
    RANDOM_OPERATIONS,
    DecodeImage,
    NormalizeImage,
    Operation,
    ToCHWImage,
    operations,
)
from lookalike.images.operations.base import Layout, Size
from lookalike.images.split import Split, split

VERSION = 1

Source = str | Path | bytes | np.ndarray | Image.Image

Last = Callable[[np.ndarray, np.ndarray | None], np.ndarray]
"""The last pass over an image; it may write into the array that is given with it."""


class Preprocess:
    """A chain of deterministic operations, from a file, bytes, RGB array (H, W, 3) or Pillow image to (C, H,
    W) float32.

    Decoding comes first and channels go first at the end, whether the list says so or not. The chain is
    checked when it is built: an operation that is unknown, random, or that stands after the channels went
    first, is a UserError.

        preprocess = Preprocess([{"ResizeImage": {"size": 224}}, {"NormalizeImage": {"order": "hwc"}}])
        preprocess("a.jpg").shape      # (3, 224, 224)

    image_shape: (channels, height, width) of the result, None where it depends on the image.
    """

    def __init__(
        self, transform_ops: Sequence[Any], *, reference_behaviour: bool = False, path: str = "transform_ops"
    ) -> None:
        components = [
            Component.of(value, f"{path}[{index}]") for index, value in enumerate(transform_ops or [])
        ]
        self.operations: list[Operation] = []
        layout: Layout = "hwc"
        for index, component in enumerate(components):
            operation = _build(component, reference_behaviour)
            if isinstance(operation, DecodeImage) and index:
                raise component.place.error("DecodeImage can only be the first operation")
            layout = _next_layout(operation, layout, component.place)
            self.operations.append(operation)
        begin_with_decoding(self.operations, components)
        self.image_shape = self._image_shape()
        self._steps, self._last = self._fuse(layout)

    def __call__(self, source: Source, out: np.ndarray | None = None) -> np.ndarray:
        """The image as the model takes it, (C, H, W) float32, contiguous. Raises BrokenImage when it
        cannot be decoded.

        out: where it is written, such as a place in a batch, if its shape is that of the result; it is what
            is returned then.
        """
        image: Any = source
        for step in self._steps:
            image = step(image)
        return placed(self._last(image, out), out, np.float32)

    def split(self) -> Split:
        """The chain in two parts, for a graph that takes pixels: what comes before it, and what it does
        itself.

        Raises UserError where it cannot be parted.
        """
        return split(self.operations)

    def to_json(self) -> list[dict[str, Any]]:
        """The chain as plain values: the version of this form, then each operation with all its arguments.

        Arguments that were left out are written with their value, so that a model folder keeps its
        preprocessing even when a default changes. Numbers are exact.
        """
        return [{"version": VERSION}] + [
            {type(operation).__name__: operation.arguments()} for operation in self.operations
        ]

    @classmethod
    def from_json(cls, value: Sequence[dict[str, Any]]) -> Preprocess:
        """The chain that `to_json` wrote. Raises UserError when it is of a newer version or not such a
        chain.
        """
        if not isinstance(value, (list, tuple)):
            raise UserError(f"preprocess must be a list of operations, got {type(value).__name__}")
        steps = list(value)
        if steps and isinstance(steps[0], dict) and set(steps[0]) == {"version"}:
            version = steps.pop(0)["version"]
            if version != VERSION:
                raise UserError(
                    f"preprocess is written in version {version!r} and this Lookalike reads version "
                    f"{VERSION}: update Lookalike"
                )
        return cls(steps, path="preprocess")

    def canonical(self) -> str:
        """One text for one preprocessing: JSON with sorted keys and no blanks, for fingerprints."""
        return json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))

    def fingerprint(self) -> str:
        """SHA-256 of the canonical text."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Preprocess) and self.canonical() == other.canonical()

    def __hash__(self) -> int:
        return hash(self.canonical())

    def __repr__(self) -> str:
        return f"Preprocess([{', '.join(map(repr, self.operations))}])"

    def _image_shape(self) -> tuple[int, int, int] | None:
        size: Size | None = None
        channels = 3
        for operation in self.operations:
            size = operation.output_size(size)
            if isinstance(operation, NormalizeImage):
                channels = operation.channel_num
        return (channels, size[1], size[0]) if size else None

    def _fuse(self, layout: Layout) -> tuple[list[Operation], Last]:
        """The operations as they are called, and the last pass, after which channels are first: normalising
        is part of it where it can be.
        """
        ends_with_planes = isinstance(self.operations[-1], ToCHWImage)
        chain = self.operations[:-1] if ends_with_planes else list(self.operations)
        if not (ends_with_planes or layout == "hwc"):
            return chain, lambda image, _: image
        if isinstance(chain[-1], NormalizeImage) and chain[-1].layout == "hwc":
            return chain[:-1], chain[-1].to_planes
        return chain, lambda image, _: np.moveaxis(image, 2, 0)


def placed(image: np.ndarray, out: np.ndarray | None, kind: type[np.generic]) -> np.ndarray:
    """The image in `out` where it fits there, else as a contiguous array of its own."""
    if out is None or out.shape != image.shape:
        return np.ascontiguousarray(image, dtype=kind)
    if image is not out:
        np.copyto(out, image)
    return out


def begin_with_decoding(chain: list[Any], components: Sequence[Component]) -> None:
    """Put DecodeImage first where a list of operations does not, and let it know what follows.

    Raises UserError, at the place of the first component, where it cannot do what that needs.
    """
    if not (chain and isinstance(chain[0], DecodeImage)):
        chain.insert(0, DecodeImage())
    decode: DecodeImage = chain[0]
    try:
        decode.fit(chain[1:])
    except UserError as error:
        raise components[0].place.around(error) from None


def _build(component: Component, reference_behaviour: bool) -> Operation:
    if component.name in RANDOM_OPERATIONS and component.name not in operations:
        raise component.place.error(
            f"{component.name} is random and belongs to training; preprocessing must give the same for the "
            f"same image: leave it "
            f"out of Eval's transform_ops"
        )
    try:
        return operations.build(component, reference_behaviour=reference_behaviour)
    except UserError as error:
        raise component.place.around(error) from None


def _next_layout(operation: Operation, layout: Layout, place: Place) -> Layout:
    """The layout after an operation. Raises UserError when it takes the other one."""
    name = type(operation).__name__
    wanted = getattr(operation, "layout", None) or operation.takes
    if wanted and wanted != layout:
        if layout == "chw":
            raise place.error(f"{name} stands after the channels went first; put it before ToCHWImage")
        raise place.error(
            f"{name} works on channel-first images but ToCHWImage comes later or not at all: write "
            f"{'data_format: HWC' if name == 'Normalize' else 'order: hwc'}"
        )
    return operation.gives or layout
