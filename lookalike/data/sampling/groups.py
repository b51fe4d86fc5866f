"""P identities with K images each, every image at most once an epoch where an identity has enough of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lookalike.core.errors import UserError
from lookalike.core.registry import Swallowed
from lookalike.data.registries import samplers
from lookalike.data.sampling.identity import identities_per_batch
from lookalike.data.sampling.seeding import by_first_appearance, sampler_generator

Groups = dict[int, list[list[int]]]


@samplers.register(
    "DistributedRandomIdentitySampler",
    "RandomIdentitySampler",
    swallows={
        "shuffle": Swallowed("every epoch groups the images anew", harmless=(None, True)),
        "drop_last": Swallowed("all batches are full, what is left waits", harmless=(None, True)),
    },
)
class DistributedRandomIdentitySampler:
    """Batches of P random identities with K = `num_instances` images each, grouped once an epoch.

    The images of each identity are cut into groups of K; a batch takes one group of P identities. What does
    not fill a group waits for another epoch; an identity with fewer than K images gives one group, drawn
    with replacement. The epoch ends when fewer than P identities have groups left, so the number of batches
    differs from epoch to epoch: `len()` is that of the epoch set by `set_epoch`, exactly. With `max_iters`
    there are always so many: identities are then drawn in proportion to the groups they have left, and when
    too few remain all images are grouped anew.

    Every process plans the same epoch and takes its share of the batches, equally many each. (In the
    reference all processes go through the whole set, and its length is an estimate.) Source: fast-reid.
    """

    def __init__(
        self,
        labels: np.ndarray,
        batch_size: int,
        num_instances: int,
        max_iters: int | None = None,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        _, self.positions = by_first_appearance(np.asarray(labels))
        self.identities = identities_per_batch(
            batch_size, num_instances, "num_instances", len(self.positions)
        )
        if max_iters is not None and max_iters < 1:
            raise UserError(f"max_iters must be at least 1, got {max_iters}")
        self.batch_size, self.num_instances = batch_size, num_instances
        self.max_iters = max_iters
        self.seed, self.rank, self.world_size, self.epoch = seed, rank, world_size, 0
        self._planned: tuple[int, list[list[int]]] | None = None
        if len(self) == 0:
            raise UserError(
                f"the images fill {len(self._plan())} batches of {batch_size}, fewer than the {world_size} "
                "processes: lower batch_size"
            )

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose batches the next iteration gives; `len()` changes with it."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.max_iters or len(self._plan()) // self.world_size

    def __iter__(self) -> Iterator[list[int]]:
        plan = self._plan()
        for number in range(len(self)):
            yield plan[number * self.world_size + self.rank]

    def _plan(self) -> list[list[int]]:
        if self._planned is None or self._planned[0] != self.epoch:
            rng = sampler_generator(self.seed, self.epoch)
            plan = self._until_few_remain(rng) if self.max_iters is None else self._of_length(rng)
            self._planned = (self.epoch, plan)
        return self._planned[1]

    def _group(self, rng: np.random.Generator) -> Groups:
        size = self.num_instances
        groups: Groups = {}
        for identity, own in enumerate(self.positions):
            order = rng.choice(own, size) if len(own) < size else rng.permutation(own)
            whole = len(order) // size * size
            groups[identity] = order[:whole].reshape(-1, size).tolist()
        return groups

    def _until_few_remain(self, rng: np.random.Generator) -> list[list[int]]:
        groups, plan = self._group(rng), []
        available = list(groups)
        while len(available) >= self.identities:
            places = rng.choice(len(available), self.identities, replace=False)
            batch = []
            for place in places:
                batch += groups[available[place]].pop()
            for place in sorted(places, reverse=True):  # the last takes the place of one that is used up
                if not groups[available[place]]:
                    available[place] = available[-1]
                    available.pop()
            plan.append(batch)
        return plan

    def _of_length(self, rng: np.random.Generator) -> list[list[int]]:
        plan: list[list[int]] = []
        left = np.zeros(len(self.positions))
        groups: Groups = {}
        while len(plan) < (self.max_iters or 0) * self.world_size:
            if np.count_nonzero(left) < self.identities:
                groups = self._group(rng)
                left = np.array([len(groups[i]) for i in range(len(self.positions))], dtype=np.float64)
            batch = []
            chosen = rng.choice(len(left), self.identities, replace=False, p=left / left.sum())
            for identity in chosen.tolist():
                batch += groups[identity].pop()
                left[identity] -= 1
            plan.append(batch)
        return plan
