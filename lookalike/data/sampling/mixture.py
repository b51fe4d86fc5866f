"""Batches in which several sets have fixed shares."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from lookalike.core.component import Component
from lookalike.core.errors import UserError
from lookalike.core.numbers import parse_number
from lookalike.data.registries import Sampler, samplers

ROUND = 1_000_000
"""The number of a part's epoch is that of the run plus this for each time it began again."""


@samplers.register("MixSampler")
class MixSampler:
    """Batches to which each set of a MixDataset gives a fixed share, by a sampler of its own.

    `sample_configs` has an entry for each set: `{name: PKSampler, ratio: 0.5, sample_per_id: 2}`, with the
    arguments of the sampler but its batch_size, which is floor(batch_size * ratio), for the last set what is
    left. A part that is exhausted begins again in another order, and a batch of it that is not full is passed
    over. `iter_per_epoch` batches make an epoch.

    The reference adds the images of each set, times its ratio, to the length, has no `len()` for it, and
    throws away whole batches where one part is short; `reference_behaviour=True` has its length.
    """

    def __init__(
        self,
        labels: np.ndarray,
        cameras: np.ndarray | None,
        lengths: Sequence[int] | None,
        batch_size: int,
        sample_configs: list[Any],
        iter_per_epoch: int,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        epochs: int = 1,
        reference_behaviour: bool = False,
    ) -> None:
        if lengths is None:
            raise UserError("MixSampler mixes the sets of a MixDataset: use that data set")
        if len(lengths) != len(sample_configs):
            raise UserError(f"sample_configs has {len(sample_configs)} entries for {len(lengths)} data sets")
        if iter_per_epoch < 1:
            raise UserError(f"iter_per_epoch must be at least 1, got {iter_per_epoch}")
        self.batch_size, self.epoch = batch_size, 0
        self.starts = np.cumsum([0, *lengths[:-1]]).tolist()
        self.parts: list[Sampler] = []
        left, length = batch_size, float(iter_per_epoch)
        for number, (entry, start, size) in enumerate(zip(sample_configs, self.starts, lengths, strict=True)):
            own = slice(start, start + size)
            component, ratio = _with_ratio(entry, number)
            share = left if number == len(lengths) - 1 else int(batch_size * ratio)
            left -= share
            if not 0 < share <= size:
                raise UserError(
                    f"sample_configs[{number}]: its share of a batch is {share} images, and its set has "
                    f"{size}"
                )
            self.parts.append(
                samplers.build(
                    component.with_arguments({**component.arguments, "batch_size": share}),
                    labels=labels[own],
                    cameras=None if cameras is None else cameras[own],
                    seed=seed + number,
                    rank=rank,
                    world_size=world_size,
                    epochs=epochs,
                    reference_behaviour=reference_behaviour,
                )
            )
            length += size * ratio
        self.length = int(np.ceil(length)) if reference_behaviour else iter_per_epoch

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose batches the next iteration gives."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[list[int]]:
        streams = [self._full_batches(number) for number in range(len(self.parts))]
        for _ in range(self.length):
            batch: list[int] = []
            for start, stream in zip(self.starts, streams, strict=True):
                batch += [start + index for index in next(stream)]
            yield batch

    def _full_batches(self, number: int) -> Iterator[list[int]]:
        part, again = self.parts[number], 0
        while True:
            part.set_epoch(self.epoch + again * ROUND)
            full = [batch for batch in part if len(batch) == part.batch_size]
            if not full:
                raise UserError(f"sample_configs[{number}]: its sampler gives no full batch")
            yield from full
            again += 1


def _with_ratio(entry: Any, number: int) -> tuple[Component, float]:
    component = Component.of(entry, f"sample_configs[{number}]")
    arguments = dict(component.arguments)
    try:
        ratio = parse_number(str(arguments.pop("ratio")))
    except (KeyError, ValueError):
        raise UserError(f"sample_configs[{number}] needs a ratio, its share of a batch in 0..1") from None
    if not 0 < ratio <= 1:
        raise UserError(f"sample_configs[{number}]: ratio must lie in 0..1, got {ratio}")
    return component.with_arguments(arguments), ratio
