"""Resizing whose interpolation is drawn anew for each image."""

from __future__ import annotations

from typing import Any

import numpy as np

from lookalike.core.component import Component
from lookalike.images.operations import Operation, operations


class RandomlyInterpolatedResize:
    """ResizeImage with `interpolation: random`: bilinear or bicubic, each with probability 1/2.

    It is a way to write ResizeImage in training, and no operation of its own: a picture that is embedded has
    one interpolation, so export refuses it.
    """

    def __init__(self, component: Component, context: dict[str, Any]) -> None:
        self.choices: list[Operation] = [
            operations.build(
                component.with_arguments({**component.arguments, "interpolation": interpolation}), **context
            )
            for interpolation in ("bilinear", "bicubic")
        ]
        arguments = vars(self.choices[0])
        self.backend, self.return_numpy = arguments["backend"], arguments["return_numpy"]

    @staticmethod
    def is_meant(component: Component) -> bool:
        """Whether a recipe writes it here."""
        return component.name == "ResizeImage" and component.arguments.get("interpolation") == "random"

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        result: np.ndarray = self.choices[int(rng.integers(2))](image)
        return result

    def wanted_size(self, size: tuple[int, int]) -> tuple[int, int] | None:
        """As ResizeImage: both choices resize to the same size."""
        return self.choices[0].wanted_size(size)
