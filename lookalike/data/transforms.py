"""A chain of deterministic operations and random augmentations, from a picture to what the network takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lookalike.core.component import Component
from lookalike.core.errors import UserError, nearest_or_all
from lookalike.data.augmentation.resize import RandomlyInterpolatedResize
from lookalike.data.registries import Augmentation, augmentations
from lookalike.images.operations import DecodeImage, NormalizeImage, Operation, operations
from lookalike.images.preprocess import begin_with_decoding

Source = str | Path | bytes | np.ndarray | Image.Image
Layout = str
"""hwc or chw"""


@dataclass(frozen=True)
class Step:
    """One operation; `random` ones are handed the generator."""

    name: str
    apply: Callable[..., np.ndarray]
    random: bool


class Transforms:
    """What `build_transforms` gives: `transforms(picture, rng)` is float32 (C, H, W), contiguous.

    The picture is a file, its bytes, an RGB array (H, W, 3) or a Pillow image. Without an `rng` the draws
    are those of seed 0. Raises BrokenImage when it cannot be decoded.
    """

    def __init__(self, steps: list[Step]) -> None:
        self.steps = steps
        self.names = [step.name for step in steps]

    @property
    def is_random(self) -> bool:
        """Whether the same picture may come out differently."""
        return any(step.random for step in self.steps)

    def __call__(self, source: Source, rng: np.random.Generator | None = None) -> np.ndarray:
        rng = np.random.default_rng(0) if rng is None else rng
        image: Any = source
        for step in self.steps:
            image = step.apply(image, rng) if step.random else step.apply(image)
        return np.ascontiguousarray(image, dtype=np.float32)

    @property
    def decoder(self) -> DecodeImage:
        """The operation that decodes, which is always the first."""
        first = self.steps[0].apply
        assert isinstance(first, DecodeImage)
        return first


def build_transforms(
    ops: Sequence[Any] | None, reference_behaviour: bool = False, path: str = "transform_ops"
) -> Transforms:
    """Build `transform_ops`: deterministic operations and augmentations in any order.

    Decoding comes first and channels go first at the end, whether the list says so or not. Raises UserError
    for a name that is neither, for wrong arguments, and for an operation that stands where the channels
    went first already.
    """
    components = [Component.of(value, f"{path}[{index}]") for index, value in enumerate(ops or [])]
    layout, pillow = "hwc", False
    built: list[Operation | Augmentation] = []
    for index, component in enumerate(components):
        context = {
            "reference_behaviour": reference_behaviour,
            "black_edge": reference_behaviour and pillow,
        }
        operation = _build(component, context)
        if isinstance(operation, DecodeImage) and index:
            raise component.place.error("DecodeImage can only be the first operation")
        layout = _next_layout(operation, component, layout)
        pillow = _is_pillow(operation, component, pillow)
        built.append(operation)
    begin_with_decoding(built, components)
    return Transforms(_steps(built, layout))


def _build(component: Component, context: dict[str, Any]) -> Operation | Augmentation:
    name, place = component.name, component.place
    if name not in augmentations and name not in operations:
        known = {*augmentations.names(), *operations.names()}
        raise place.error(f"unknown operation '{name}'{nearest_or_all(name, known, operations.listed_in)}")
    try:
        if name in augmentations:
            return augmentations.build(component, **context)
        if RandomlyInterpolatedResize.is_meant(component):
            return RandomlyInterpolatedResize(component, context)
        return operations.build(component, **context)
    except UserError as error:
        raise place.around(error) from None


def _next_layout(operation: Operation | Augmentation, component: Component, layout: Layout) -> Layout:
    """The layout after an operation. Raises UserError when it takes the other one."""
    if _takes_either_layout(operation):
        return layout
    wanted, gives = "hwc", None
    if isinstance(operation, Operation):
        wanted = getattr(operation, "layout", None) or operation.takes or layout
        gives = operation.gives
    if wanted != layout:
        raise component.place.error(
            f"{component.name} stands after the channels went first (ToTensor, ToCHWImage): put it before"
            if layout == "chw"
            else f"{component.name} works on channel-first images, and here the channels are last: write "
            f"{'data_format: HWC' if component.name == 'Normalize' else 'order: hwc'}"
        )
    return gives or layout


def _takes_either_layout(operation: Operation | Augmentation) -> bool:
    """Whether a random operation works on (H, W, C) and (C, H, W) alike."""
    return not isinstance(operation, Operation) and getattr(operation, "takes", "hwc") is None


def _is_pillow(operation: Operation | Augmentation, component: Component, before: bool) -> bool:
    """Whether the reference would hold a Pillow image here, on which its RandCropImageV2 acts otherwise."""
    if isinstance(operation, DecodeImage):
        return operation.backend == "pil" and not operation.to_np
    if component.name == "ResizeImage":
        arguments = vars(operation)
        return arguments["backend"] == "pil" and not arguments["return_numpy"]
    return before and component.name not in ("ToTensor", "NormalizeImage", "ToCHWImage")


def _steps(chain: list[Operation | Augmentation], layout: Layout) -> list[Step]:
    """The steps as they are called, channels first at the end.

    This is done in the pass that normalises, where nothing comes after it but random operations that take
    either layout, such as random erasing.
    """
    if type(chain[-1]).__name__ == "ToCHWImage":
        chain, layout = chain[:-1], "hwc"
    steps = [Step(type(op).__name__, op, not isinstance(op, Operation)) for op in chain]
    if layout == "chw":
        return steps
    last = len(chain) - 1
    while _takes_either_layout(chain[last]):
        last -= 1
    normalise = chain[last]
    if isinstance(normalise, NormalizeImage) and normalise.layout == "hwc":
        steps[last] = Step("NormalizeImage", normalise.to_planes, False)
    else:
        steps.append(Step("channels first", _channels_first, False))
    return steps


def _channels_first(image: np.ndarray) -> np.ndarray:
    return np.transpose(image, (2, 0, 1))
