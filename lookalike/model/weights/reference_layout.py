"""The map between our weights and the reference's: the same modules, a few renamed keys, matrices transposed.

| here | reference |
|---|---|
| `bn.running_mean`, `bn.running_var` | `bn._mean`, `bn._variance` |
| `bn.num_batches_tracked` | absent |
| weight of a linear layer or margin head (out, in) | (in, out) |
| weight of a PReLU | `_weight` |
| branches of a re-parameterisable convolution | the same, and an idle `dw_conv` beside them |
| 1x1 convolution (out, in, 1, 1) where the reference has a linear layer | (in, out) |

A module whose layers have other names than the reference's says so itself: `reference_keys`, a function
from its own key to the reference's; `transposed_in_reference`, its weights that are matrices there;
`idle_in_reference`, keys that a file holds and nobody reads; `obsolete_in_reference`, those that only older
files hold; `required_from_reference`, its own keys without which a file is not for it; and
`unmapped_in_reference`, a sentence that says why no file can be read into it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lookalike.model.backbones.pplcnet_v2 import RepDepthwiseSeparable


def to_reference_key(model: nn.Module) -> dict[str, tuple[str, bool]]:
    """For each of our keys that the reference has too: its key there, whether the matrix is transposed."""
    layout: dict[str, tuple[str, bool]] = {}
    renamers = _renamers(model)
    for prefix, module in model.named_modules():
        start = f"{prefix}." if prefix else ""
        own = [name for name, _ in module.named_parameters(recurse=False)]
        own += [name for name, _ in module.named_buffers(recurse=False)]
        for name in own:
            if name == "num_batches_tracked" or name in module._non_persistent_buffers_set:
                continue
            theirs, transposed = name, name in getattr(module, "transposed_in_reference", ())
            if isinstance(module, _BatchNorm):
                theirs = {"running_mean": "_mean", "running_var": "_variance"}.get(name, name)
            elif isinstance(module, nn.Linear):
                transposed = name == "weight"
            elif isinstance(module, nn.PReLU):
                theirs = "_weight"
            layout[start + name] = (_renamed(start + theirs, renamers), transposed)
    return layout


def _renamers(model: nn.Module) -> dict[str, Callable[[str], str]]:
    """The functions that modules carry as `reference_keys`, by the prefix of their keys."""
    return {
        f"{prefix}." if prefix else "": module.reference_keys
        for prefix, module in model.named_modules()
        if hasattr(module, "reference_keys")
    }


def _renamed(key: str, renamers: Mapping[str, Callable[[str], str]]) -> str:
    for prefix, rename in renamers.items():
        if key.startswith(prefix):
            return prefix + rename(key.removeprefix(prefix))
    return key


def reference_keys_of(model: nn.Module, keys: set[str]) -> set[str]:
    """What the reference calls the keys of layers that the model no longer has (its classifier)."""
    renamers = _renamers(model)
    return {_renamed(key, renamers) for key in keys}


def obsolete_keys(model: nn.Module) -> set[str]:
    """Keys that only older files of the reference hold, of no use to the model."""
    return _declared(model, "obsolete_in_reference")


def required_keys(model: nn.Module) -> set[str]:
    """Our keys that a file of the reference must hold, in networks whose names there are mapped to timm's."""
    return _declared(model, "required_from_reference") & set(model.state_dict())


def _declared(model: nn.Module, attribute: str) -> set[str]:
    return {
        f"{prefix}.{key}" if prefix else key
        for prefix, module in model.named_modules()
        for key in getattr(module, attribute, ())
    }


def idle_keys(model: nn.Module) -> set[str]:
    """Keys that the reference's files hold and that a model in training form has no use for: the convolutions
    beside branches, and what modules name in `idle_in_reference`.
    """
    return _declared(model, "idle_in_reference") | {
        f"{prefix}.dw_conv.{kind}" if prefix else f"dw_conv.{kind}"
        for prefix, module in model.named_modules()
        if isinstance(module, RepDepthwiseSeparable) and module.dw_conv_list is not None
        for kind in ("weight", "bias")
    }


def fused_prefixes(model: nn.Module) -> list[str]:
    """Modules whose branches have been joined; a file with branches does not fit them."""
    return [
        prefix
        for prefix, module in model.named_modules()
        if isinstance(module, RepDepthwiseSeparable)
        and module.dw_conv_list is None
        and isinstance(module.dw_conv, nn.Conv2d)
    ]


def to_reference_state(model: nn.Module) -> dict[str, np.ndarray]:
    """The model's weights as the reference keeps them.

    The idle convolutions get the kernel that equals their branches, so that the result is a whole state dict.
    """
    state = model.state_dict()
    result = {}
    for ours, (theirs, transposed) in to_reference_key(model).items():
        value = state[ours].detach().float().cpu()
        result[theirs] = (value.flatten(1).t() if transposed else value).contiguous().numpy()
    for prefix, module in model.named_modules():
        if isinstance(module, RepDepthwiseSeparable) and (fused := module.fused_branches()) is not None:
            start = f"{prefix}." if prefix else ""
            result[f"{start}dw_conv.weight"] = fused[0].float().cpu().numpy()
            result[f"{start}dw_conv.bias"] = fused[1].float().cpu().numpy()
    return result


def from_reference_state(model: nn.Module, arrays: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """Tensors by our keys out of arrays by the reference's; what the model has no place for keeps its key."""
    places = {theirs: (ours, transposed) for ours, (theirs, transposed) in to_reference_key(model).items()}
    own = model.state_dict()
    state = {}
    for key, array in arrays.items():
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        if key in places:
            key, transposed = places[key]
            if transposed and tensor.ndim == 2:
                tensor = tensor.t().contiguous().reshape(*tensor.shape[::-1], *(1,) * (own[key].ndim - 2))
        elif key in own:
            key = f"{key} (of the reference)"  # another layer than ours of that name
        state[key] = tensor
    return state
