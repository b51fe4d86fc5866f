"""Batches for meta-learning over domains (cameras, sites): MetaBIN."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lookalike.core.errors import UserError
from lookalike.core.log import warn_once
from lookalike.core.registry import Swallowed
from lookalike.data.registries import samplers
from lookalike.data.sampling.groups import DistributedRandomIdentitySampler, Groups
from lookalike.data.sampling.seeding import by_first_appearance, sampler_generator

_FULL = {"drop_last": Swallowed("all batches are full", harmless=(None, True))}


def filled_groups(own: np.ndarray, size: int, rng: np.random.Generator) -> list[list[int]]:
    """The images of an identity in random order in groups of `size`, filled up with some of them again."""
    missing = -len(own) % size
    more = rng.choice(own, missing, replace=len(own) < missing)
    grouped: list[list[int]] = rng.permutation(np.concatenate([own, more])).reshape(-1, size).tolist()
    return grouped


@samplers.register("NaiveIdentityBatchSampler", swallows=_FULL)
class NaiveIdentityBatchSampler(DistributedRandomIdentitySampler):
    """Batches of P random identities with K = `num_instances` images each, in which every image has a turn.

    As DistributedRandomIdentitySampler, but the images of an identity that do not fill a group are filled up
    with others of its own. The epoch ends when fewer than P identities have groups left; `len()` is exact.
    (The reference goes on for ever, in all processes through the whole set, and its length is an estimate.)
    """

    def __init__(
        self,
        labels: np.ndarray,
        batch_size: int,
        num_instances: int,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        super().__init__(labels, batch_size, num_instances, None, seed, rank, world_size)

    def _group(self, rng: np.random.Generator) -> Groups:
        size = self.num_instances
        return {identity: filled_groups(own, size, rng) for identity, own in enumerate(self.positions)}


@samplers.register("DomainShuffleBatchSampler", swallows=_FULL)
class DomainShuffleBatchSampler:
    """Batches of equally many images of every domain: batch_size / K / (domains) identities each, K =
    `num_instances` images of an identity in a row.

    A domain is a camera, and an identity is that of one camera: who was seen by two may be in a batch twice.
    Images are grouped as by NaiveIdentityBatchSampler; a domain whose identities run short is grouped anew,
    and the epoch ends when that has happened to each. Where batch_size does not divide into the domains, or
    one has fewer identities than its share, a batch is smaller; one too small for every domain takes as many
    as it has room for, at random. (In the reference there is no end and no length, a batch that does not
    divide begins in the middle, and the others fail.)

    Every process plans the same epoch and takes its share of the batches. Raises UserError for a set without
    cameras, and for a batch with room for one identity only.
    """

    def __init__(
        self,
        labels: np.ndarray,
        cameras: np.ndarray | None,
        batch_size: int,
        num_instances: int,
        camera_to_domain: bool = True,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if cameras is None:
            raise UserError("DomainShuffleBatchSampler takes cameras for domains, and the set has none")
        if not camera_to_domain:
            raise UserError("camera_to_domain must be True: there are no domains other than cameras")
        distinct, domain = np.unique(cameras, return_inverse=True)
        self.num_instances = num_instances
        self.domains = [np.flatnonzero(domain == number) for number in range(len(distinct))]
        self.identities = [
            [own[place] for place in by_first_appearance(np.asarray(labels)[own])[1]] for own in self.domains
        ]
        room = batch_size // num_instances if num_instances > 0 else 0
        if room < 2:
            raise UserError(
                f"a batch of {batch_size} with {num_instances} images each has no identities of two cameras: "
                f"set batch_size to {2 * max(num_instances, 1)} or more"
            )
        self.domains_of_batch = min(len(distinct), room)
        fewest = min(len(identities) for identities in self.identities)
        self.each = min(room // self.domains_of_batch, fewest)
        self.batch_size = self.each * num_instances * self.domains_of_batch
        if self.batch_size != batch_size:
            warn_once(
                f"DomainShuffleBatchSampler: with {num_instances} images an identity, {len(distinct)} cameras"
                f" and {fewest} identities or more of each, a batch has {self.batch_size} images, not "
                f"{batch_size}"
            )
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
        return len(self._plan()) // self.world_size

    def __iter__(self) -> Iterator[list[int]]:
        plan = self._plan()
        for number in range(len(self)):
            yield plan[number * self.world_size + self.rank]

    def _plan(self) -> list[list[int]]:
        if self._planned is None or self._planned[0] != self.epoch:
            self._planned = (self.epoch, self._batches(sampler_generator(self.seed, self.epoch)))
        return self._planned[1]

    def _batches(self, rng: np.random.Generator) -> list[list[int]]:
        waiting = [self._group(domain, rng) for domain in range(len(self.domains))]
        exhausted = [False] * len(waiting)
        plan = []
        while not all(exhausted):
            batch: list[int] = []
            for domain in self._chosen(rng):
                groups = waiting[domain]
                for place in sorted(rng.choice(len(groups), self.each, replace=False), reverse=True):
                    batch += groups[place].pop()
                    if not groups[place]:
                        del groups[place]
                if len(groups) < self.each:
                    exhausted[domain] = True
                    waiting[domain] = self._group(domain, rng)
            plan.append(batch)
        return plan

    def _chosen(self, rng: np.random.Generator) -> list[int]:
        """The domains of a batch: all of them where there is room."""
        if self.domains_of_batch == len(self.domains):
            return list(range(len(self.domains)))
        chosen: list[int] = rng.choice(len(self.domains), self.domains_of_batch, replace=False).tolist()
        return chosen

    def _group(self, domain: int, rng: np.random.Generator) -> list[list[list[int]]]:
        return [filled_groups(own, self.num_instances, rng) for own in self.identities[domain]]
