"""The torch dataset of a table of images: decoding, random augmentation, and the rule for broken images."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import Dataset

from lookalike.core.errors import BrokenImage, LookalikeError, UserError
from lookalike.data.cache import PictureCache
from lookalike.data.sampling.seeding import generator
from lookalike.data.transforms import Transforms
from lookalike.images.decode import decode_image
from lookalike.images.records import Records

Key = int | tuple[int, ...]
"""A position, or (epoch, position, occurrence): how often the image has been drawn before in this epoch.
Where a sampler draws sizes too, width and height of the image follow.
"""

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
        self.records = with_rotated_classes(records) if rotated_classes else records
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

    def fill_cache(self) -> dict[str, str]:
        """Decode all pictures into memory, once; without `cache: ram` nothing happens.

        Gives the files that cannot be decoded, and why.
        """
        if self.cache is None:
            return {}
        if not self.cache.places:
            self.cache.load(self.records.paths, self.read)
        return self.cache.broken

    def transforms_of(self, index: int, size: tuple[int, int] | None = None) -> Transforms:
        """The chain for a record; `size` = (width, height) where the sampler draws one."""
        if size is not None:
            raise UserError("the sampler draws the size of each batch: use MultiScaleDataset with it")
        return self.transforms

    def read(self, path: str) -> np.ndarray:
        """Decode a file as the transforms say: (H, W, 3) RGB uint8. Raises BrokenImage.

        Boxes are counted in pixels of the file, so where there are any it is never decoded at a part of its
        size.
        """
        decoder = self.transforms.decoder
        if self.records.boxes is not None:
            return decode_image(path, backend=decoder.backend)
        return decoder.read(path)

    def picture(self, index: int) -> np.ndarray:
        """The decoded picture of a record, before any operation: (H, W, 3) RGB uint8. Raises BrokenImage.

        Where records have boxes, it is the part inside the box.
        """
        path = self.records.paths[index]
        cache = self.cache
        image = cache.read(path) if cache is not None and path in cache else self.read(path)
        if self.records.boxes is not None:
            image = _inside(self.records.boxes[index], image, path)
        turns = index // self.num_pictures
        return np.ascontiguousarray(np.rot90(image, turns)) if turns else image

    def __getitem__(self, key: Key) -> Sample:
        epoch, index, occurrence, *size = key if isinstance(key, tuple) else (self.epoch, key, 0)
        index = range(len(self))[
            index
        ]  # negative positions count from the end, others beyond it are an IndexError
        try:
            picture = self.picture(index)
        except BrokenImage as error:
            return {"broken": (error.path, error.reason), "index": index}
        again = (occurrence,) if occurrence else ()
        try:
            chain = self.transforms_of(index, (size[0], size[1]) if size else None)
            image = chain(picture, generator(self.seed, epoch, index, *again))
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


def _inside(box: np.ndarray, image: np.ndarray, path: str) -> np.ndarray:
    left, top, right, bottom = box.tolist()
    part = image[top:bottom, left:right]
    if not part.size:
        height, width = image.shape[:2]
        raise BrokenImage(path, f"its box {box.tolist()} lies outside of its {width}x{height} pixels")
    return part


def with_rotated_classes(records: Records) -> Records:
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
        boxes=None if records.boxes is None else np.tile(records.boxes, (turns, 1)),
    )
