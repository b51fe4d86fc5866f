"""Several views of one picture, a weakly and strongly changed ones, for semi-supervised training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from lookalike.core.component import Component
from lookalike.core.errors import BrokenImage, UserError
from lookalike.data.dataset import build_dataset
from lookalike.data.image_dataset import ImageDataset, Key, Sample
from lookalike.data.sampling.seeding import generator
from lookalike.data.transforms import Transforms, build_transforms
from lookalike.images import dataset_operations

WEAK = "transform_ops_weak"
STRONG = {"transform_ops_strong": "strong", "transform_ops_strong2": "strong_2"}
"""Keys of a `dataset` block and the entries of a sample that they make; the weak view is `image`."""

_VIEW = 0x5F3759DF  # keeps the streams of the strong views apart from that of the weak one


class ViewsDataset(ImageDataset):
    """The data set `weak` whose samples hold strong views beside its own, `image`, each drawn by itself.

    The pictures are those of `weak`, whatever kind of data set it is.
    """

    def __init__(self, weak: ImageDataset, strong: Mapping[str, Transforms]) -> None:
        super().__init__(weak.records, weak.transforms, weak.seed, max_broken_share=weak.max_broken_share)
        self.num_pictures = weak.num_pictures
        self.weak, self.strong = weak, dict(strong)

    def picture(self, index: int) -> np.ndarray:
        return self.weak.picture(index)

    def transforms_of(self, index: int, size: tuple[int, int] | None = None) -> Transforms:
        return self.weak.transforms_of(index, size)

    def fill_cache(self) -> dict[str, str]:
        return self.weak.fill_cache()

    def __getitem__(self, key: Key) -> Sample:
        sample = super().__getitem__(key)
        if "image" not in sample:
            return sample
        epoch, _, occurrence = key[:3] if isinstance(key, tuple) else (self.epoch, key, 0)
        index = sample["index"]
        try:
            picture = self.picture(index)
            for number, (name, transforms) in enumerate(self.strong.items(), start=1):
                rng = generator(self.seed, epoch, index, occurrence, number, _VIEW)
                sample[name] = torch.from_numpy(transforms(picture, rng))
        except BrokenImage as error:  # gone since the weak view was made
            return {"broken": (error.path, error.reason), "index": index}
        except UserError as error:
            return {"failed": f"{self.records.paths[index]}: {error}", "index": index}
        return sample


def has_views(section: Any) -> bool:
    """Whether a `dataset` block asks for several views."""
    return isinstance(section, Mapping) and WEAK in section


def build_views(section: Any, *, seed: int = 0, reference_behaviour: bool = False) -> ViewsDataset:
    """Build a `dataset` block with `transform_ops_weak`, `transform_ops_strong` and `transform_ops_strong2`.

    The first takes the place of `transform_ops`. Raises UserError for what is wrong in the block.
    """
    component = Component.of(section, "dataset")
    keys = (WEAK, *STRONG)
    plain = {key: value for key, value in component.arguments.items() if key not in keys}
    views = {}
    for key in keys:
        if key in component.arguments:
            block = component.with_arguments({**plain, "transform_ops": component.arguments[key] or []})
            views[key] = build_transforms(dataset_operations(block), reference_behaviour=reference_behaviour)
    weak = build_dataset(
        component.with_arguments(plain), views.pop(WEAK), seed=seed, reference_behaviour=reference_behaviour
    )
    return ViewsDataset(weak, {STRONG[key]: view for key, view in views.items()})
