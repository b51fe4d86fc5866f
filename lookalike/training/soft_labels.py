"""Where mixed images, whose labels are distributions over classes, are wrong."""

from __future__ import annotations

from torch import nn

from lookalike.core.errors import UserError
from lookalike.data import Loader
from lookalike.model.heads import has_margin
from lookalike.recipe import Recipe


def check_mixing(recipe: Recipe, loader: Loader, model: nn.Module, loss: nn.Module) -> None:
    """Raise UserError where `batch_transform_ops` mix images and a part of the recipe needs the one class of
    each: a head with a margin, a loss of pairs, a training mode that cuts its batches.
    """
    if loader.mixing is None:
        return
    place = f"{recipe.name}: DataLoader.Train.dataset.batch_transform_ops mix images of several classes"
    if recipe.global_.train_mode is not None:
        raise UserError(f"{place}, which train_mode {recipe.global_.train_mode} cannot use: remove them")
    for part in model.modules():
        if has_margin(part):
            raise UserError(
                f"{place}, but the margin of {type(part).__name__} is for the one class of an image: remove "
                "them, or use the head FC"
            )
    for term in loss.terms:  # type: ignore[union-attr]
        if not getattr(term, "takes_soft_labels", False):
            raise UserError(
                f"{place}, but {type(term).__name__} reads the one class of an image: remove them, or train "
                "with CELoss alone"
            )
