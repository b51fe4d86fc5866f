"""Images whose size the sampler draws, batch by batch (MobileViT: https://arxiv.org/abs/2110.02178)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from lookalike.core.component import Component
from lookalike.core.errors import UserError
from lookalike.data.image_dataset import ImageDataset
from lookalike.data.transforms import Transforms, build_transforms
from lookalike.images.records import Records

RESIZING = ("RandCropImage", "ResizeImage", "CropImage")
"""The operations whose `size` the drawn one takes the place of."""


class SizedChains:
    """A chain of transforms for each size, built when it is first asked for."""

    def __init__(self, operations: Sequence[Any], reference_behaviour: bool = False) -> None:
        self.operations = [
            Component.of(value, f"transform_ops[{index}]") for index, value in enumerate(operations)
        ]
        if not any(operation.name in RESIZING for operation in self.operations):
            raise UserError(
                f"MultiScaleDataset needs one of {', '.join(RESIZING)} in transform_ops, whose size is drawn"
            )
        self.reference_behaviour = reference_behaviour
        self._built: dict[tuple[int, int], Transforms] = {}

    def of(self, size: tuple[int, int]) -> Transforms:
        """The chain for images of size = (width, height)."""
        if size not in self._built:
            sized = [
                operation.with_arguments(self._arguments(operation, size))
                if operation.name in RESIZING
                else operation
                for operation in self.operations
            ]
            self._built[size] = build_transforms(sized, reference_behaviour=self.reference_behaviour)
        return self._built[size]

    def _arguments(self, operation: Component, size: tuple[int, int]) -> dict[str, Any]:
        if self.reference_behaviour:  # which loses scale, ratio and interpolation
            return {"size": list(size)}
        others = {k: v for k, v in operation.arguments.items() if k != "resize_short"}
        return {**others, "size": list(size)}


class MultiScaleDataset(ImageDataset):
    """An ImageDataset with a chain of transforms for each size that a sampler may draw."""

    def __init__(
        self,
        records: Records,
        transforms: Transforms,
        chains: SizedChains,
        seed: int = 0,
        rotated_classes: bool = False,
        cache: Literal["ram"] | None = None,
        max_broken_share: float = 0.01,
    ) -> None:
        super().__init__(records, transforms, seed, rotated_classes, cache, max_broken_share)
        if transforms.decoder.scaled:
            raise UserError(
                "MultiScaleDataset draws the size to which a picture is resized after it was decoded: leave "
                "`scaled` out of its DecodeImage"
            )
        self.chains = chains

    def transforms_of(self, index: int, size: tuple[int, int] | None = None) -> Transforms:
        return self.transforms if size is None else self.chains.of(size)
