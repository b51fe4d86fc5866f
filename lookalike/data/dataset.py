"""The torch dataset of a table of images: decoding, random augmentation, and the rule for broken images."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import Dataset

from lookalike.core.component import Component, Section
from lookalike.core.errors import BrokenImage, LookalikeError, UserError, did_you_mean
from lookalike.core.numbers import Number
from lookalike.core.registry import Registry
from lookalike.data.cache import PictureCache
from lookalike.data.sampling.seeding import generator
from lookalike.data.transforms import Transforms, build_transforms
from lookalike.images.decode import decode_image
from lookalike.images.formats import formats, read_records
from lookalike.images.records import Records

Key = int | tuple[int, int, int]
"""A position, or (epoch, position, occurrence): how often the image has been drawn before in this epoch."""

Sample = dict[str, Any]


class ImageDataset(Dataset[Sample]):
    """Records and what is done with each image.

    `dataset[i]` is {"image": float32 tensor (C, H, W), "label": int, "index": i} and, where the records
    have cameras, "camera". Random operations draw from a generator seeded by (seed, epoch, i): an image
    comes out the same in every worker, process and resumed run. An image that occurs again in the same
    epoch (samplers of identities repeat images) is augmented anew.

    A broken image gives {"broken": (path, reason), "index": i}; the loader counts them. It is never
    replaced.

    rotated_classes: each class turned by 90, 180 and 270 degrees is a new class, as is usual for
    hand-written characters: four times the records, with labels shifted by k times the number of classes.
    cache: `ram` keeps decoded pictures in memory; the loader fills it before it starts its workers.
    max_broken_share: more broken images than this share of the set is an error.
    """

    def __init__(
        self,
        records: Records,
        transforms: Transforms,
        seed: int = 0,
        rotated_classes: bool = False,
        cache: Literal["ram"] | None = None,
        max_broken_share: float = 0.01,
    ) -> None:
        if not 0 <= max_broken_share <= 1:
            raise UserError(f"max_broken_share must lie in 0..1, got {max_broken_share}")
        self.num_pictures = len(records)
        self.records = _with_rotated_classes(records) if rotated_classes else records
        self.transforms, self.seed, self.epoch = transforms, seed, 0
        self.max_broken_share = max_broken_share
        self.cache = PictureCache() if cache == "ram" else None

    @property
    def labels(self) -> np.ndarray:
        """(N,) int64"""
        return self.records.labels

    def __len__(self) -> int:
        return len(self.records)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of positions that come without one; the loader sends it along with each."""
        self.epoch = epoch

    def image_shape(self) -> tuple[int, int, int] | None:
        """(C, H, W) of what the transforms give, from the first whole picture; None where ten are broken."""
        for index in range(min(len(self), 10)):
            sample = self[index]
            if "image" in sample:
                channels, height, width = sample["image"].shape
                return int(channels), int(height), int(width)
        return None

    def fill_cache(self) -> None:
        """Decode all pictures into memory, once; without `cache: ram` nothing happens."""
        if self.cache is not None and not self.cache.places:
            self.cache.load(self.records.paths, self.transforms.backend)

    def picture(self, index: int) -> np.ndarray:
        """The decoded picture of a record, before any operation: (H, W, 3) RGB uint8. Raises BrokenImage."""
        path = self.records.paths[index]
        if self.cache is not None and path in self.cache:
            image = self.cache.read(path)
        else:
            image = decode_image(path, backend=self.transforms.backend)
        turns = index // self.num_pictures
        return np.ascontiguousarray(np.rot90(image, turns)) if turns else image

    def __getitem__(self, key: Key) -> Sample:
        epoch, index, occurrence = key if isinstance(key, tuple) else (self.epoch, key, 0)
        index = range(len(self))[
            index
        ]  # negative positions count from the end, others beyond it are an IndexError
        try:
            picture = self.picture(index)
        except BrokenImage as error:
            return {"broken": (error.path, error.reason), "index": index}
        again = (occurrence,) if occurrence else ()
        try:
            image = self.transforms(picture, generator(self.seed, epoch, index, *again))
        except UserError as error:
            return {"failed": f"{self.records.paths[index]}: {error}", "index": index}
        except Exception as error:
            raise LookalikeError(
                f"{self.records.paths[index]}: transform_ops failed: {type(error).__name__}: {error}"
            ) from error
        sample: Sample = {
            "image": torch.from_numpy(image),
            "label": int(self.records.labels[index]),
            "index": index,
        }
        if self.records.cameras is not None:
            sample["camera"] = int(self.records.cameras[index])
        return sample


def _with_rotated_classes(records: Records) -> Records:
    turns = 4
    classes = int(records.labels.max()) + 1 if len(records) else 0
    # named also where classes are numbers, so that no turned class passes for the one of that number
    plain = {label: records.name_of(label) for label in np.unique(records.labels).tolist()}
    names = {
        label + k * classes: f"{name}, turned by {90 * k} degrees" if k else name
        for k in range(turns)
        for label, name in plain.items()
    }
    return replace(
        records,
        paths=list(records.paths) * turns,
        labels=np.concatenate([records.labels + k * classes for k in range(turns)]),
        cameras=None if records.cameras is None else np.tile(records.cameras, turns),
        lines=None if records.lines is None else list(records.lines) * turns,
        class_names=names,
    )


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
    return _with_rotated_classes(records) if component.arguments.get("rotated_classes") else records


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
    if component.arguments.get("batch_transform_ops"):
        raise component.place_of("batch_transform_ops").error(
            "mixing the images of a batch is not for embeddings, since margins and pairs need one label an "
            "image: remove it"
        )
    options = dataset_options.build(Component("dataset", own, component.place))
    if transform is None:
        ops = component.arguments.get("transform_ops") or []
        transform = build_transforms(ops, reference_behaviour=reference_behaviour)
    if records is None:
        records = read_records(Section({"name": component.name, **reading}, component.place))
    if not len(records):
        raise component.place.error(f"{records.origin or 'the set'} has no images")
    return ImageDataset(records, transform, seed, **options)


def _of_the_format(component: Component) -> dict[str, Any]:
    """The arguments of the format. Raises UserError for one that neither it nor the dataset has."""
    entry = formats.entry(component.name, component.place)
    accepted = [*entry.parameters(), "transform_ops", *OPTIONS]
    for key in component.arguments:
        if key not in accepted and key not in entry.swallows and key != "batch_transform_ops":
            near = did_you_mean(key, accepted) or "."
            raise component.place.error(f"unknown argument '{key}'{near} (accepts: {', '.join(accepted)})")
    return {k: v for k, v in component.arguments.items() if k in entry.parameters() or k in entry.swallows}
