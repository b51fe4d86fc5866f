"""A batch divided among threads, each of which computes its pictures alone.

Threads that compute one picture together wait for each other in every layer, and each reads what the others
wrote: dear where their cores have no cache in common. Threads with pictures of their own meet once a batch.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from lookalike.deploy.runtimes.runtime import Batch, Floats, Runtime

PART = 4
"""Pictures that a thread computes at once, at most: maps of more leave the caches."""

UNEVEN = 1.25
"""Pictures that do not divide are computed together where the busiest thread had so many times its share."""


class DividedRuntime:
    """Batches in parts, one thread each. May be called from several threads at once.

    alone: computes with one thread, and may be called from several at once. together: computes batches that
    do not divide well, such as single pictures.
    """

    def __init__(self, alone: Runtime, together: Runtime, threads: int) -> None:
        self.threads = threads
        self.reentrant: bool = getattr(together, "reentrant", False)
        self._alone, self._together = alone, together
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="part")

    def __call__(self, batch: Batch) -> Floats:
        shares = -(-len(batch) // self.threads) * self.threads  # as if each had as many as the busiest
        if not len(batch) or shares > UNEVEN * len(batch):
            return self._together(batch)
        rounds = -(-shares // (self.threads * PART))
        parts = np.array_split(batch, min(rounds * self.threads, len(batch)))
        return np.concatenate(list(self._pool.map(self._alone, parts)))
