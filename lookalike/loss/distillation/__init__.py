"""Losses between models: between two of their outputs (`pair_losses`), and as terms of a recipe."""

from lookalike.loss.distillation import (  # noqa: F401  (registers the losses)
    correlation,
    distance,
    divergence,
    projections,
    relations,
    soft_labels,
    terms,
)
from lookalike.loss.distillation.pair import PairLoss, pair_losses

__all__ = ["PairLoss", "pair_losses"]
