"""Every image once an epoch, shared out over the processes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lookalike.core.errors import UserError
from lookalike.data.registries import samplers
from lookalike.data.sampling.seeding import sampler_generator


@samplers.register("DistributedBatchSampler", "BatchSampler")
class DistributedBatchSampler:
    """Every image once an epoch, in the order of the list or shuffled; `batch_size` is that of one process.

    The list is lengthened with its first images until all processes get equally many; an evaluation
    recognises these by their index. Of each global batch of `batch_size` times the number of processes,
    process r takes the r-th block. The order depends on (seed, epoch); the reference shuffles by the epoch
    alone, as we do with `reference_behaviour`.
    """

    def __init__(
        self,
        labels: np.ndarray,
        batch_size: int = 1,
        shuffle: bool = False,
        drop_last: bool = False,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        reference_behaviour: bool = False,
    ) -> None:
        if batch_size < 1:
            raise UserError(f"batch_size must be at least 1, got {batch_size}")
        if len(labels) == 0:
            raise UserError("there are no images to make batches of")
        self.batch_size, self.shuffle, self.drop_last = batch_size, shuffle, drop_last
        self.seed, self.rank, self.world_size = seed, rank, world_size
        self.reference_behaviour = reference_behaviour
        self.num_images, self.epoch = len(labels), 0
        self.share = -(-self.num_images // world_size)
        if len(self) == 0:
            raise UserError(
                f"a process gets {self.share} of {self.num_images} images, fewer than its batch_size of "
                f"{batch_size}, and drop_last leaves no batch: lower batch_size or set drop_last to False"
            )

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next iteration follows."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.share // self.batch_size if self.drop_last else -(-self.share // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        own = self._own_indices()
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            yield own[start : start + self.batch_size].tolist()

    def _own_indices(self) -> np.ndarray:
        indices = np.resize(
            np.arange(self.num_images), self.share * self.world_size
        )  # repeats from the start
        if self.shuffle and self.reference_behaviour:
            np.random.RandomState(self.epoch).shuffle(indices)
        elif self.shuffle:
            sampler_generator(self.seed, self.epoch).shuffle(indices)
        whole = self.share // self.batch_size * self.batch_size * self.world_size
        blocks = indices[:whole].reshape(-1, self.world_size, self.batch_size)[:, self.rank].reshape(-1)
        rest = indices[whole:].reshape(self.world_size, -1)[self.rank]
        return np.concatenate([blocks, rest])
