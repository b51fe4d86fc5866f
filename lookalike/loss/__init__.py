"""Losses, one family a file, and the weighted sum of several."""

from lookalike.loss import (  # noqa: F401  (registers the losses)
    center,
    contrastive,
    cross_entropy,
    deep_hashing,
    distillation,
    domains,
    grouped,
    matryoshka,
    pairwise_cosface,
    pseudo_labels,
    supervised_contrastive,
    triplet,
    triplet_angular,
)
from lookalike.loss.base import Loss, Term
from lookalike.loss.combined import CombinedLoss, build_loss
from lookalike.loss.registries import losses

__all__ = ["CombinedLoss", "Loss", "Term", "build_loss", "losses"]
