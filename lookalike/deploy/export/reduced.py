"""Fewer numbers a picture: the directions in which features vary most, or the first numbers of a feature."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.core.errors import UserError
from lookalike.retrieval.blocks import chunks_of

SMALLEST = 32
"""The smallest size of the table that `sizes_to_tell` suggests."""


@dataclass(frozen=True)
class Reduction:
    """y = P x, scaled to length 1 where `normalise` says so; P (d, D) has orthogonal rows of length 1.

    `learned_on`: from how many features; 0 for the first numbers of a feature as they are, to which a model
    is reduced that MatryoshkaLoss trained.
    """

    projection: NDArray[np.float64]
    normalise: bool
    learned_on: int = 0

    @classmethod
    def pca(cls, features: Any, normalise: bool) -> Reduction:
        """All D directions of features (N, D), those that hold most first.

        They are the eigenvectors of Σ x xᵀ: no mean is taken off, so that what is kept of an inner product
        is as much as can be, and all D directions keep every similarity as it is. N features tell N
        directions, and the others are any that are left. Learn it on training pictures, never on those that
        are scored.
        """
        count, width = features.shape
        moments = np.zeros((width, width))
        for part in chunks_of(features):
            piece = np.asarray(features[part], dtype=np.float64)
            moments += piece.T @ piece
        directions = np.linalg.eigh(moments)[1].T[::-1]
        # an eigenvector may point either way: the largest entry says which, so that results repeat
        signs = np.sign(directions[np.arange(width), np.abs(directions).argmax(axis=1)])
        return cls(directions * signs[:, None], normalise, count)

    @classmethod
    def prefix(cls, width: int, normalise: bool) -> Reduction:
        """The first numbers of a feature of `width`."""
        return cls(np.eye(width), normalise)

    @property
    def size(self) -> int:
        return len(self.projection)

    def tells(self, size: int) -> bool:
        """Whether it was learned on enough features for so many directions; all are never too many."""
        return not self.learned_on or size <= self.learned_on or size == self.size

    def to(self, size: int) -> Reduction:
        """The same, with the first `size` directions. Raises UserError where there are not so many, and where
        not so many were learned.
        """
        if not 1 <= size <= self.size:
            raise UserError(f"a feature of {self.size} numbers has no {size} dimensions")
        if not self.tells(size):
            raise UserError(
                f"{self.learned_on} training pictures are too few to learn {size} directions of features: "
                f"keep at most {self.learned_on} numbers (--dim {self.learned_on}), give at least {size} "
                "training pictures, or train with MatryoshkaLoss"
            )
        return Reduction(self.projection[:size], self.normalise, self.learned_on)

    def apply(self, features: NDArray[Any]) -> NDArray[np.float32]:
        """(N, D) -> (N, d)."""
        found = np.asarray(features, dtype=np.float64) @ self.projection.T
        if self.normalise:
            found /= np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
        return found.astype(np.float32)


def sizes_to_tell(full: int, asked: int, trained: Iterable[int] = ()) -> list[int]:
    """The `trained` sizes, else powers of two from 32 below `full`; the one that is asked for, and `full`."""
    powers = (2**power for power in range(SMALLEST.bit_length() - 1, full.bit_length()))
    chosen = set(trained) or {power for power in powers if power < full}
    return sorted({*chosen, asked, full})
