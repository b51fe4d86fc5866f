"""The widths of layers: reading them, and giving a model those of a pruned one."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from lookalike.core.errors import UserError

Widths = dict[str, dict[str, int]]

_SIZES: tuple[tuple[type[nn.Module], tuple[str, ...]], ...] = (
    (nn.Conv2d, ("in_channels", "out_channels", "groups")),
    (nn.Linear, ("in_features", "out_features")),
    (_BatchNorm, ("num_features",)),
)
"""Kinds of layers that can become narrower, with the attributes that say how wide they are."""


def widths_of(model: nn.Module) -> Widths:
    """Sizes of all layers that pruning may change, by path."""
    return {
        name: {size: int(getattr(layer, size)) for size in sizes}
        for name, layer in model.named_modules()
        if (sizes := _sizes(layer))
    }


def changed(before: Widths, after: Widths) -> Widths:
    """The sizes of those layers whose sizes are not what they were."""
    return {name: sizes for name, sizes in after.items() if before.get(name) != sizes}


def resize(model: nn.Module, widths: Mapping[str, Mapping[str, int]], source: str) -> None:
    """Give layers other sizes, in place. Their weights are not filled: they come from a file afterwards.

    Raises UserError for a layer that the model does not have.
    """
    layers = dict(model.named_modules())
    for name, sizes in widths.items():
        layer = layers.get(name)
        if layer is None or set(sizes) != set(_sizes(layer)) or min(sizes.values()) < 1:
            raise UserError(f"{source}: was pruned from another model: this one has no such layer '{name}'")
        for size, value in sizes.items():
            setattr(layer, size, value)
        for key, shape in _shapes(layer).items():
            _reshape(layer, key, shape)


def _sizes(layer: nn.Module) -> tuple[str, ...]:
    return next((sizes for kind, sizes in _SIZES if isinstance(layer, kind)), ())


def _shapes(layer: nn.Module) -> dict[str, tuple[int, ...]]:
    """The shapes of a layer's tensors for its sizes."""
    if isinstance(layer, nn.Conv2d):
        weight = (layer.out_channels, layer.in_channels // layer.groups, *layer.kernel_size)
        return {"weight": weight, "bias": weight[:1]}
    if isinstance(layer, nn.Linear):
        return {"weight": (layer.out_features, layer.in_features), "bias": (layer.out_features,)}
    assert isinstance(layer, _BatchNorm)
    return dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (layer.num_features,))


def _reshape(layer: nn.Module, key: str, shape: tuple[int, ...]) -> None:
    old = getattr(layer, key)
    if old is None or tuple(old.shape) == shape:
        return
    if not isinstance(old, nn.Parameter):
        setattr(layer, key, old.new_zeros(shape))
        return
    new = nn.Parameter(
        torch.zeros(shape, dtype=old.dtype, device=old.device), requires_grad=old.requires_grad
    )
    vars(new).update(vars(old))  # how fast it learns, and how it decays
    setattr(layer, key, new)
