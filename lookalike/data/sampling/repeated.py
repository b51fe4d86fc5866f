"""Repeated augmentation: several versions of an image in one step of all processes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lookalike.core.errors import UserError
from lookalike.data.registries import samplers
from lookalike.data.sampling.seeding import sampler_generator


@samplers.register("RASampler", "RepeatedAugSampler")
class RASampler:
    """Every image `num_repeats` times in a row, dealt out to the processes one by one, so that several of
    them see versions of the same image at once; of this an epoch takes as many as there are images.

    That number is cut to a multiple of `selected_round`, where there are so many; in the reference a set of
    fewer images gives an empty epoch. The order depends on (seed, epoch); the reference shuffles by the epoch
    alone, as we do with `reference_behaviour`. Source: Hoffer et al., https://arxiv.org/abs/1901.09335, as in
    DeiT, https://arxiv.org/abs/2012.12877.
    """

    def __init__(
        self,
        labels: np.ndarray,
        batch_size: int = 1,
        shuffle: bool = False,
        drop_last: bool = False,
        num_repeats: int = 3,
        selected_round: int = 256,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        reference_behaviour: bool = False,
    ) -> None:
        for name, value in (
            ("batch_size", batch_size), ("num_repeats", num_repeats), ("selected_round", selected_round)
        ):  # fmt: skip
            if value < 1:
                raise UserError(f"{name} must be at least 1, got {value}")
        self.batch_size, self.shuffle, self.drop_last = batch_size, shuffle, drop_last
        self.num_images, self.num_repeats = len(labels), num_repeats
        self.seed, self.rank, self.world_size, self.epoch = seed, rank, world_size, 0
        self.reference_behaviour = reference_behaviour
        rounded = self.num_images // selected_round * selected_round
        self.share = (rounded or self.num_images) // world_size
        if len(self) == 0:
            raise UserError(
                f"a process gets {self.share} of {self.num_images} images, fewer than its batch_size of "
                f"{batch_size}: lower batch_size"
            )

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next iteration follows."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.share // self.batch_size if self.drop_last else -(-self.share // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        order = np.arange(self.num_images)
        if self.shuffle and self.reference_behaviour:
            np.random.RandomState(self.epoch).shuffle(order)
        elif self.shuffle:
            sampler_generator(self.seed, self.epoch).shuffle(order)
        repeated = np.resize(
            order.repeat(self.num_repeats),
            -(-len(order) * self.num_repeats // self.world_size) * self.world_size,
        )
        own = repeated[self.rank :: self.world_size][: self.share]
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            yield own[start : start + self.batch_size].tolist()
