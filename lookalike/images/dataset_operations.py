"""What a `dataset` block does to each image, as its format means it."""

from __future__ import annotations

from typing import Any

from lookalike.core.component import Component, SectionList
from lookalike.images.formats import formats

FACES: list[Any] = [{"ToTensor": None}, {"Normalize": {"mean": [0.5] * 3, "std": [0.5] * 3}}]
"""What AdaFace's networks are given: aligned faces of -1 … 1."""


def dataset_operations(section: Any) -> list[Any]:
    """The `transform_ops` of a `dataset` block; empty where it has none.

    AdaFaceDataset calls them `transform`. FiveValidationDataset without any takes faces as they are, scaled
    to -1 … 1. With `backend: pil`, and for AdaFaceDataset, images are Pillow's in the reference: they are
    decoded by Pillow, and `Resize` without a backend resizes as Pillow does.
    """
    component = Component.of(section, "dataset")
    name = formats.entry(component.name, component.place).name
    arguments = component.arguments
    given = arguments.get("transform_ops")
    if given is None and name == "AdaFaceDataset":
        given = arguments.get("transform")
    if given is None and name == "FiveValidationDataset":
        given = FACES
    if arguments.get("backend") != "pil" and name != "AdaFaceDataset":
        return given or []
    return _for_pillow(given or [])


def _for_pillow(operations: list[Any]) -> list[Any]:
    components = [Component.of(value, f"transform_ops[{index}]") for index, value in enumerate(operations)]
    chain = [
        component.with_arguments({"backend": "pil", **component.arguments})
        if component.name == "Resize"
        else component
        for component in components
    ]
    if not (chain and chain[0].name == "DecodeImage"):
        chain.insert(0, Component("DecodeImage", {"backend": "pil", "to_np": False}))
    return SectionList(list(chain), operations.place if isinstance(operations, SectionList) else None)
