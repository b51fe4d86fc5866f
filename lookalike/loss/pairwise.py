"""Between all rows of a batch: unit vectors, distances, who belongs to whom; with finite gradients."""

from __future__ import annotations

import torch
from torch import Tensor

SMALLEST_NORM = 1e-12
SMALLEST_SQUARED_DISTANCE = 1e-12


def unit_rows(features: Tensor) -> Tensor:
    """Each row of (N, D) divided by its L2 norm.

    A row of zeros has no direction: it stays zero and gets no gradient (the plain quotient would give one of
    1e12).
    """
    norms = torch.linalg.vector_norm(features, dim=1, keepdim=True)
    return torch.where(
        norms > SMALLEST_NORM, features / norms.clamp_min(SMALLEST_NORM), torch.zeros_like(features)
    )


def squared_distances(features: Tensor) -> Tensor:
    """Squared Euclidean distances (N, N), 0 for a sample and itself; rounding may leave others below 0."""
    squares = features.square().sum(dim=1)
    squared = torch.addmm(squares[:, None] + squares[None, :], features, features.t(), alpha=-2)
    own = torch.eye(len(features), dtype=torch.bool, device=features.device)
    return squared.masked_fill(own, 0.0)


def distances(features: Tensor) -> Tensor:
    """Euclidean distances (N, N), at least 1e-6. Equal rows get no gradient: the root has none there."""
    return squared_distances(features).clamp_min(SMALLEST_SQUARED_DISTANCE).sqrt()


def same_label(labels: Tensor) -> Tensor:
    """(N, N): whether two samples have one label; each sample has its own."""
    return labels[:, None] == labels[None, :]


def hardest(values: Tensor, mask: Tensor, largest: bool) -> Tensor:
    """Per row of (N, N) the largest or smallest value under the mask; 0 without gradient where none is."""
    fill = -torch.inf if largest else torch.inf
    masked = values.masked_fill(~mask, fill)
    # `max(dim)` rather than `amax`: it gives the gradient to one of several equal entries, as mining one pair
    # means
    found = masked.max(dim=1).values if largest else masked.min(dim=1).values
    return torch.where(mask.any(dim=1), found, torch.zeros_like(found))
