"""Several views of one picture, a weakly and strongly changed ones, for semi-supervised training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from lookalike.core.component import Component
from lookalike.core.errors import BrokenImage
from lookalike.data.dataset import build_dataset
from lookalike.data.image_dataset import ImageDataset, Key, Sample
from lookalike.data.sampling.seeding import generator
from lookalike.data.transforms import Transforms, build_transforms

WEAK = "transform_ops_weak"
STRONG = {"transform_ops_strong": "strong", "transform_ops_strong2": "strong_2"}
"""Keys of a `dataset` block and the entries of a sample that they make; the weak view is `image`."""

_VIEW = 0x5F3759DF  # keeps the streams of the strong views apart from that of the weak one


class ViewsDataset(ImageDataset):
    """An ImageDataset whose samples hold strong views beside the weak one, `image`, each drawn by itself."""

    strong: dict[str, Transforms]

    @classmethod
    def of(cls, weak: ImageDataset, strong: Mapping[str, Transforms]) -> ViewsDataset:
        """The data set `weak` with further views."""
        made = cls.__new__(cls)
        made.__dict__.update(weak.__dict__)
        made.strong = dict(strong)
        return made

    def __getitem__(self, key: Key) -> Sample:
        sample = super().__getitem__(key)
        if "image" not in sample:
            return sample
        epoch, index, occurrence = key if isinstance(key, tuple) else (self.epoch, key, 0)
        index = sample["index"]
        try:
            picture = self.picture(index)
        except BrokenImage as error:  # vanished since the weak view was read
            return {"broken": (error.path, error.reason), "index": index}
        for number, (name, transforms) in enumerate(self.strong.items(), start=1):
            rng = generator(self.seed, epoch, index, occurrence, number, _VIEW)
            sample[name] = torch.from_numpy(transforms(picture, rng))
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
    plain = component.with_arguments({k: v for k, v in component.arguments.items() if k not in keys})
    views = {
        key: build_transforms(component.arguments[key] or [], reference_behaviour=reference_behaviour)
        for key in keys
        if key in component.arguments
    }
    weak = build_dataset(plain, views[WEAK], seed=seed, reference_behaviour=reference_behaviour)
    return ViewsDataset.of(weak, {STRONG[key]: view for key, view in views.items() if key in STRONG})
