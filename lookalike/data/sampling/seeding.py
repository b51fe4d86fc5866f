"""Random numbers that depend on the run's seed and the epoch alone, whatever was drawn before."""

from __future__ import annotations

import numpy as np

# stands where an image's key counts its occurrences, so that no augmentation shares a sampler's stream
_SAMPLING = 0x9E3779B97F4A7C15


def generator(*key: int) -> np.random.Generator:
    """The generator of a key such as (seed, epoch, position). Zeros at the end of a key do not count."""
    entropy = [int(part) & (2**64 - 1) for part in key]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))


def sampler_generator(seed: int, epoch: int, rank: int = 0) -> np.random.Generator:
    """The generator of a sampler."""
    return generator(seed, epoch, rank, _SAMPLING)


def by_first_appearance(labels: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """The distinct labels in the order in which they first appear, and the positions of each."""
    distinct, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    positions = np.split(np.argsort(inverse, kind="stable"), np.cumsum(np.bincount(inverse))[:-1])
    return distinct[order], [positions[i] for i in order]
