"""PCA-whitening: directions in which features vary much no longer outweigh all others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lookalike.retrieval.blocks import FloatArray, as_features, chunks_of
from lookalike.retrieval.expansion import scaled_to_one

_SMALLEST = 1e-6
"""Variance, as a share of the largest, below which a direction holds nothing but rounding of float32."""


@dataclass(frozen=True)
class Whitening:
    """x' = W (x - m), scaled to length 1: of unit variance and uncorrelated over what it was learned from.

    Jégou, Chum: Negative evidences and co-occurences in image retrieval: the benefit of PCA and whitening,
    ECCV 2012. m is the mean of the features; W = diag(λ_1 … λ_d)^(-1/2) · (u_1 … u_d)ᵀ with the largest
    eigenvalues λ and eigenvectors u of their covariance.

    mean: (D,). projection: (d, D), the rows of W. Both are plain arrays, which `np.savez` keeps and the
    constructor takes back.

    >>> import numpy as np
    >>> training = np.random.default_rng(0).normal(size=(500, 4)) * [8.0, 4.0, 2.0, 1.0]
    >>> whitening = Whitening.learn(training, dimensions=3)
    >>> whitening.apply(training).shape
    (500, 3)
    >>> again = Whitening(**whitening.to_arrays())
    >>> bool(np.all(again.apply(training) == whitening.apply(training)))
    True
    """

    mean: npt.NDArray[np.float64]
    projection: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.mean.ndim != 1 or self.projection.ndim != 2 or self.projection.shape[1:] != self.mean.shape:
            raise ValueError(
                "a whitening is a mean (D,) and a projection (d, D), got shapes "
                f"{self.mean.shape} and {self.projection.shape}"
            )

    @classmethod
    def learn(cls, features: Any, dimensions: int | None = None) -> Whitening:
        """From training features (N, D), which are gone through in pieces, in float64.

        dimensions: keep so many, those of largest variance; by default all D.

        Never learn it from the gallery or the queries that are scored. Raises ValueError where the features
        do not vary in so many directions (there must be more of them than dimensions).
        """
        given = as_features(features, "training")
        count, width = given.shape
        kept = width if dimensions is None else dimensions
        if not 1 <= kept <= width:
            raise ValueError(f"dimensions must be between 1 and {width}, got {kept}")
        mean = given.mean(axis=0, dtype=np.float64)
        covariance = np.zeros((width, width))
        for part in chunks_of(given):
            centred = given[part] - mean
            covariance += centred.T @ centred
        covariance /= count
        variances, directions = np.linalg.eigh(covariance)
        variances, directions = variances[::-1], directions[:, ::-1].T
        varying = int(np.count_nonzero(variances > _SMALLEST * max(variances[0], 0)))
        if varying < kept:
            raise ValueError(
                f"the {count} training features vary in {varying} directions only, so whitening to {kept} "
                "dimensions would blow up noise: give fewer dimensions or more features"
            )
        # an eigenvector may point either way: the largest entry says which, so that results repeat
        signs = np.sign(directions[np.arange(width), np.abs(directions).argmax(axis=1)])
        projection = (directions * (signs / np.sqrt(np.maximum(variances, 1e-300)))[:, None])[:kept]
        return cls(mean, projection)

    def apply(self, features: Any) -> FloatArray:
        """Whitened features of length 1: (N, D) -> (N, d), float32 (float64 for float64)."""
        given = as_features(features, "whitened")
        if given.shape[1] != len(self.mean):
            raise ValueError(
                f"the features have {given.shape[1]} dimensions and the whitening was learned from "
                f"{len(self.mean)}: they must come from the same model"
            )
        found: FloatArray = np.empty((len(given), len(self.projection)), np.result_type(given, np.float32))
        for part in chunks_of(given):
            found[part] = (given[part] - self.mean) @ self.projection.T
        return scaled_to_one(found)

    def to_arrays(self) -> dict[str, npt.NDArray[np.float64]]:
        """The arrays by their names: `Whitening(**np.load("whitening.npz"))` reads what np.savez wrote."""
        return {"mean": self.mean, "projection": self.projection}
