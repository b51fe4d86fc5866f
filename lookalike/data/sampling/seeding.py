"""Random numbers that depend on the run's seed and the epoch alone, whatever was drawn before."""

from __future__ import annotations

import numpy as np


def generator(*key: int) -> np.random.Generator:
    """A generator for a key such as (seed, epoch, rank); equal keys give equal streams, others independent
    ones.
    """
    return np.random.Generator(
        np.random.PCG64(np.random.SeedSequence([int(part) & (2**64 - 1) for part in key]))
    )


def by_first_appearance(labels: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """The distinct labels in the order in which they first appear, and the positions of each."""
    distinct, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    positions = np.split(np.argsort(inverse, kind="stable"), np.cumsum(np.bincount(inverse))[:-1])
    return distinct[order], [positions[i] for i in order]
