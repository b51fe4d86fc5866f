"""P identities with K images each, drawn anew for every batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np

from lookalike.core.errors import UserError
from lookalike.core.numbers import Number
from lookalike.core.registry import Swallowed
from lookalike.data.registries import samplers
from lookalike.data.sampling.seeding import by_first_appearance, sampler_generator


def identities_per_batch(batch_size: int, images: int, name: str, num_identities: int) -> int:
    """P = batch_size / K. Raises UserError when K does not divide it, or there are fewer identities."""
    if images < 1 or batch_size < 1 or batch_size % images:
        nearest = max(images, 1) * max(1, round(batch_size / max(images, 1)))
        raise UserError(
            f"batch_size ({batch_size}) must be a multiple of {name} ({images}), such as {nearest}"
        )
    wanted = batch_size // images
    if num_identities < wanted:
        raise UserError(
            f"a batch of {batch_size} with {images} images each needs {wanted} identities, and the set has "
            f"{num_identities}: set batch_size to {num_identities * images} or less"
        )
    return wanted


@samplers.register(
    "PKSampler",
    "PKBatchSampler",
    swallows={
        "total_epochs": "the draws depend on the seed, the epoch and the rank alone",
        "shuffle": Swallowed("every batch is drawn at random", harmless=(None, True)),
    },
)
class PKSampler:
    """Each batch holds P = batch_size / K different identities with K = `sample_per_id` images in a row.

    Identities are drawn without replacement within the batch, with probability in proportion to their
    number of images (`sample_avg_prob`) or equal (`id_avg_prob`). Images of an identity are drawn without
    replacement, with replacement when it has fewer than K. `id_list` [start, end, start, end, …] are
    inclusive positions in the order in which labels first appear in the list (not labels); the probability
    of those identities is multiplied by `ratio`, one number a pair.

    An epoch has as many batches as the process's share of the images fills (rounded down with `drop_last`,
    else up); all are full. Every batch is drawn at random, here as in the reference, whatever `shuffle`
    says.
    """

    def __init__(
        self,
        labels: np.ndarray,
        batch_size: int,
        sample_per_id: int,
        drop_last: bool = True,
        id_list: list[int] | None = None,
        ratio: list[Number] | None = None,
        sample_method: Literal["sample_avg_prob", "id_avg_prob"] = "sample_avg_prob",
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.label_order, self.positions = by_first_appearance(np.asarray(labels))
        self.identities = identities_per_batch(
            batch_size, sample_per_id, "sample_per_id", len(self.label_order)
        )
        self.batch_size, self.sample_per_id, self.drop_last = batch_size, sample_per_id, drop_last
        self.seed, self.rank, self.world_size, self.epoch = seed, rank, world_size, 0
        share = -(-len(labels) // world_size)
        self.num_batches = share // batch_size if drop_last else -(-share // batch_size)
        if self.num_batches == 0:
            raise UserError(
                f"a process gets {share} of {len(labels)} images, fewer than its batch_size of {batch_size}, "
                "and drop_last leaves no batch: lower batch_size or set drop_last to False"
            )
        self.probability = self._probability(sample_method, id_list or [], ratio or [])

    def _probability(self, method: str, id_list: list[int], ratio: list[float]) -> np.ndarray:
        counts = np.array([len(p) for p in self.positions], dtype=np.float64)
        weight = counts if method == "sample_avg_prob" else np.ones_like(counts)
        if len(id_list) % 2 or len(id_list) != 2 * len(ratio):
            raise UserError(
                "id_list holds pairs [start, end] and ratio one number a pair, got "
                f"{len(id_list)} and {len(ratio)} numbers"
            )
        for start, end, factor in zip(id_list[::2], id_list[1::2], ratio, strict=True):
            if not 0 <= start <= end < len(weight):
                raise UserError(
                    f"id_list: [{start}, {end}] is no range of positions among {len(weight)} identities "
                    f"(0 to {len(weight) - 1}, both ends included)"
                )
            if factor <= 0:
                raise UserError(f"ratio must be above 0, got {factor}")
            weight[start : end + 1] *= factor
        probability: np.ndarray = weight / weight.sum()
        return probability

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose draws the next iteration makes."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.num_batches

    def __iter__(self) -> Iterator[list[int]]:
        rng = sampler_generator(self.seed, self.epoch, self.rank)
        for _ in range(self.num_batches):
            batch: list[int] = []
            chosen = rng.choice(len(self.positions), self.identities, replace=False, p=self.probability)
            for identity in chosen:
                own = self.positions[identity]
                batch += rng.choice(own, self.sample_per_id, replace=len(own) < self.sample_per_id).tolist()
            yield batch
