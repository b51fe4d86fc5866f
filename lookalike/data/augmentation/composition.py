"""Operations made of others."""

from __future__ import annotations

from typing import Any

import numpy as np

from lookalike.core.component import Component
from lookalike.core.errors import UserError, nearest_or_all
from lookalike.core.numbers import Number
from lookalike.data.augmentation.arguments import probability
from lookalike.data.registries import Augmentation, augmentations
from lookalike.images.operations import Operation, operations


@augmentations.register("RandomApply")
class RandomApply:
    """With probability `p` all of `transforms`, in order; else none of them.

    transforms: a list as in `transform_ops`, of operations that keep the channels last. Raises UserError for
    an unknown name and for an operation that changes the layout.
    """

    def __init__(self, p: Number, transforms: list[Any], reference_behaviour: bool = False) -> None:
        self.p = probability(p, "p")
        if not transforms:
            raise UserError("RandomApply needs at least one operation in 'transforms'")
        self.steps = [
            _step(Component.of(part, f"RandomApply.transforms[{index}]"), reference_behaviour)
            for index, part in enumerate(transforms)
        ]

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if rng.random() >= self.p:
            return image
        for step in self.steps:
            image = step(image) if isinstance(step, Operation) else step(image, rng)
        return image


def _step(component: Component, reference_behaviour: bool) -> Operation | Augmentation:
    name = component.name
    if name in augmentations:
        return augmentations.build(component, reference_behaviour=reference_behaviour)
    if name not in operations:
        known = {*augmentations.names(), *operations.names()}
        raise component.place.error(
            f"unknown operation '{name}'{nearest_or_all(name, known, operations.listed_in)}"
        )
    operation = operations.build(component, reference_behaviour=reference_behaviour)
    layout = getattr(operation, "layout", None) or operation.takes
    if operation.gives is not None or layout == "chw" or name == "DecodeImage":
        raise component.place.error(
            f"RandomApply takes operations on images with channels last, and not {name}"
        )
    return operation
