"""Batches whose images have one of several sizes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lookalike.core.errors import UserError
from lookalike.data.registries import samplers
from lookalike.data.sampling.seeding import sampler_generator


@samplers.register("MultiScaleSampler")
class MultiScaleSampler:
    """Every image once an epoch, each batch in a size drawn from `scales`, for MultiScaleDataset.

    A scale is the side of a square or [width, height]. A batch is a list of (width, height, index) and has as
    many images as keep the number of pixels near that of `first_bs` images of the first scale: floor(first_bs
    w1 h1 / (w h)), at least one. For training sides are rounded down to a multiple of `divided_factor`; with
    `is_training: False` images come in order, in the first scale as it is.

    The last batch is filled up with the first images of the process. Sizes and order depend on (seed, epoch),
    and all processes draw the same sizes; `len()` is that of the epoch set by `set_epoch`. (The reference
    draws the sizes once, unseeded, and each process its own.) With `seed` in the recipe the order of the
    images is that of its first epoch always, as in the reference.
    """

    def __init__(
        self,
        labels: np.ndarray,
        scales: list[int | list[int]],
        first_bs: int,
        divided_factor: int = 32,
        is_training: bool = True,
        seed: int | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if not scales or first_bs < 1 or divided_factor < 1:
            raise UserError("MultiScaleSampler needs scales, and first_bs and divided_factor of at least 1")
        sizes = [_pair(scale) for scale in scales]
        width, height = sizes[0]
        pixels = width * height * first_bs
        self.sizes = [(width, height, first_bs)]
        if is_training:
            rounded = [[side // divided_factor * divided_factor for side in size] for size in sizes]
            if min(min(size) for size in rounded) < 1:
                raise UserError(f"scales must be at least divided_factor ({divided_factor}), got {scales}")
            self.sizes = [(w, h, max(1, pixels // (w * h))) for w, h in rounded]
        self.batch_size = first_bs
        self.num_images, self.is_training = len(labels), is_training
        self.share = -(-self.num_images // world_size)
        self.seed, self.rank, self.world_size, self.epoch = seed or 0, rank, world_size, 0
        self._planned: tuple[int, list[tuple[int, int, int]]] | None = None

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose sizes and order the next iteration gives; `len()` changes with it."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self._plan())

    def __iter__(self) -> Iterator[list[tuple[int, int, int]]]:
        order = np.resize(np.arange(self.num_images), self.share * self.world_size)
        if self.is_training:
            sampler_generator(self.seed, self.epoch).shuffle(order)
        own, start = order[self.rank :: self.world_size], 0
        for width, height, count in self._plan():
            places = np.arange(start, start + count) % self.share
            start += count
            yield [(width, height, index) for index in own[places].tolist()]

    def _plan(self) -> list[tuple[int, int, int]]:
        """Width, height and number of images of each batch: the same in every process."""
        if self._planned is None or self._planned[0] != self.epoch:
            rng = sampler_generator(self.seed, self.epoch, -1)
            plan, images = [], 0
            while images < self.share:
                plan.append(self.sizes[rng.integers(len(self.sizes))])
                images += plan[-1][2]
            self._planned = (self.epoch, plan)
        return self._planned[1]


def _pair(scale: int | list[int]) -> tuple[int, int]:
    pair = [scale, scale] if isinstance(scale, int) else list(scale)
    if len(pair) != 2 or min(pair) < 1:
        raise UserError(f"a scale is the side of a square or [width, height], got {scale}")
    return pair[0], pair[1]
