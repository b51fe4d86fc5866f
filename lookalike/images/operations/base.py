"""What all deterministic operations share: the registry, and what a chain of them needs to know of each."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

import numpy as np

from lookalike.core.errors import UserError
from lookalike.core.registry import Registry

Layout = Literal["hwc", "chw"]
Size = tuple[int, int]
"""Width and height in pixels, the order of recipes."""


class Operation(ABC):
    """One step of preprocessing. Its attributes are the arguments of its constructor.

    takes: the layout of image it works on, None for either. gives: the layout it returns, None for the one it
    was given.
    """

    takes: ClassVar[Layout | None] = "hwc"
    gives: ClassVar[Layout | None] = None
    scale_free: ClassVar[bool] = False
    """Whether it does the same to a picture of any scale: `DecodeImage: {scaled: true}` looks past it."""

    @abstractmethod
    def __call__(self, image: np.ndarray) -> np.ndarray:
        """The image after this step."""

    def arguments(self) -> dict[str, Any]:
        """What it takes to build the same operation again, defaults included."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def output_size(self, size: Size | None) -> Size | None:
        """Size after this step of an image of this size; None where images differ."""
        return size

    def wanted_size(self, size: Size) -> Size | None:
        """For an operation that resizes: in which size it needs an image of this size, so that it does not
        enlarge what it would have shrunk. None for any other.
        """
        return None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.arguments().items())})"


operations: Registry[Operation] = Registry("operation")

RANDOM_OPERATIONS = frozenset(
    [
        "AugMix",
        "AutoAugment",
        "BlurImage",
        "ColorJitter",
        "CropWithPadding",
        "Cutout",
        "GridMask",
        "HideAndSeek",
        "PCALighting",
        "RandAugment",
        "RandAugmentV2",
        "RandAugmentV3",
        "RandAugmentV4",
        "RandCropImage",
        "RandCropImageV2",
        "RandFlipImage",
        "RandomApply",
        "RandomCrop",
        "RandomCropImage",
        "RandomErasing",
        "RandomGrayscale",
        "RandomHorizontalFlip",
        "RandomInterpolationAugment",
        "RandomResizedCrop",
        "RandomRot90",
        "RandomRotation",
        "RandomVerticalFlip",
        "TimmAutoAugment",
    ]
)
"""Names of the reference's random operations, so that naming one where only deterministic ones fit gets
its own sentence.
"""


def pair(value: int | list[int], what: str) -> tuple[int, int]:
    """The two numbers of a size, given as one number or as two. Raises UserError when they are no sizes."""
    numbers = [value, value] if isinstance(value, int) else list(value)
    if len(numbers) == 1:
        numbers *= 2
    if len(numbers) != 2 or min(numbers) < 1:
        raise UserError(f"{what} must be a positive number or two of them, got {value!r}")
    return numbers[0], numbers[1]


def colour(fill: float | list[float], channels: int, what: str) -> list[float]:
    """One value per channel. Raises UserError when the numbers do not match the channels."""
    values = [float(fill)] * channels if isinstance(fill, (int, float)) else [float(value) for value in fill]
    if len(values) == 1:
        values *= channels
    if len(values) != channels:
        raise UserError(f"{what} has {len(values)} values but the image has {channels} channels")
    return values
