"""From the `dataset` block of a recipe to a torch dataset."""

from __future__ import annotations

from typing import Any, Literal

from lookalike.core.component import Component, Section
from lookalike.core.errors import did_you_mean
from lookalike.core.numbers import Number
from lookalike.core.registry import Registry
from lookalike.data.image_dataset import ImageDataset, Key, Sample, with_rotated_classes
from lookalike.data.mixed import MixedDataset
from lookalike.data.multi_scale import MultiScaleDataset, SizedChains
from lookalike.data.transforms import Transforms, build_transforms
from lookalike.images import dataset_operations
from lookalike.images.formats import formats, read_records
from lookalike.images.records import Records

__all__ = [
    "OPTIONS",
    "ImageDataset",
    "Key",
    "Sample",
    "build_dataset",
    "dataset_options",
    "read_dataset_records",
]

dataset_options: Registry[dict[str, Any]] = Registry("dataset option")


@dataset_options.register("dataset")
def _dataset_options(
    rotated_classes: bool = False,
    cache: Literal["ram"] | None = None,
    max_broken_share: Number = 0.01,
) -> dict[str, Any]:
    return {"rotated_classes": rotated_classes, "cache": cache, "max_broken_share": max_broken_share}


OPTIONS = tuple(dataset_options.entry("dataset").parameters())
"""What the `dataset` block of a recipe may hold beside the arguments of its format."""


def read_dataset_records(section: Any) -> Records:
    """The records of a `dataset` block as its dataset would have them; no image is opened.

    Raises UserError for what is wrong with the block or its list.
    """
    component = Component.of(section, "dataset")
    records = read_records(Section({"name": component.name, **_of_the_format(component)}, component.place))
    return with_rotated_classes(records) if component.arguments.get("rotated_classes") else records


def build_dataset(
    section: Any,
    transform: Transforms | None = None,
    *,
    seed: int = 0,
    reference_behaviour: bool = False,
    records: Records | None = None,
) -> ImageDataset:
    """Build a `dataset` block: a format with its arguments, `transform_ops`, options of `ImageDataset`.

    `transform` and `records` take the place of what the section says of them. Raises UserError for what is
    wrong in it.
    """
    component = Component.of(section, "dataset")
    reading = _of_the_format(component)
    own = {k: v for k, v in component.arguments.items() if k in OPTIONS}
    options = dataset_options.build(Component("dataset", own, component.place))
    if component.name == "MixDataset" and transform is None:
        parts = component.arguments.get("datasets_config") or []
        return MixedDataset(
            [
                build_dataset(part, seed=seed + number, reference_behaviour=reference_behaviour)
                for number, part in enumerate(parts)
            ],
            seed,
            **options,
        )
    operations = dataset_operations(component)
    if transform is None:
        transform = build_transforms(operations, reference_behaviour=reference_behaviour)
    if records is None:
        records = read_records(Section({"name": component.name, **reading}, component.place))
    if not len(records):
        raise component.place.error(f"{records.origin or 'the set'} has no images")
    if component.name == "MultiScaleDataset":
        chains = SizedChains(operations, reference_behaviour)
        return MultiScaleDataset(records, transform, chains, seed, **options)
    return ImageDataset(records, transform, seed, **options)


def _of_the_format(component: Component) -> dict[str, Any]:
    """The arguments of the format. Raises UserError for one that neither it nor the dataset has."""
    entry = formats.entry(component.name, component.place)
    accepted = [*entry.parameters(), "transform_ops", *OPTIONS]
    silent = ("batch_transform_ops", *(["transform"] if entry.name == "AdaFaceDataset" else []))
    for key in component.arguments:
        if key not in accepted and key not in entry.swallows and key not in silent:
            near = did_you_mean(key, accepted) or "."
            raise component.place.error(f"unknown argument '{key}'{near} (accepts: {', '.join(accepted)})")
    return {k: v for k, v in component.arguments.items() if k in entry.parameters() or k in entry.swallows}
