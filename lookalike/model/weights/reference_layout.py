"""The map between our weights and the reference's: the same modules, a few renamed keys, matrices transposed.

| here | reference |
|---|---|
| `bn.running_mean`, `bn.running_var` | `bn._mean`, `bn._variance` |
| `bn.num_batches_tracked` | absent |
| weight of a linear layer or margin head (out, in) | (in, out) |
| weight of a PReLU | `_weight` |
| branches of a re-parameterisable convolution | the same, and an idle `dw_conv` beside them |
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lookalike.model.backbones.pplcnet_v2 import RepDepthwiseSeparable


def to_reference_key(model: nn.Module) -> dict[str, tuple[str, bool]]:
    """For each of our keys that the reference has too: its key there, whether the matrix is transposed."""
    layout: dict[str, tuple[str, bool]] = {}
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
            layout[start + name] = (start + theirs, transposed)
    return layout


def idle_keys(model: nn.Module) -> set[str]:
    """Keys that the reference's files hold beside the branches, of no use to a model in training form."""
    return {
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
        result[theirs] = (value.t() if transposed else value).contiguous().numpy()
    for prefix, module in model.named_modules():
        if isinstance(module, RepDepthwiseSeparable) and (fused := module.fused_branches()) is not None:
            start = f"{prefix}." if prefix else ""
            result[f"{start}dw_conv.weight"] = fused[0].float().cpu().numpy()
            result[f"{start}dw_conv.bias"] = fused[1].float().cpu().numpy()
    return result


def from_reference_state(model: nn.Module, arrays: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """Tensors by our keys out of arrays by the reference's; what the model has no place for keeps its key."""
    places = {theirs: (ours, transposed) for ours, (theirs, transposed) in to_reference_key(model).items()}
    state = {}
    for key, array in arrays.items():
        ours, transposed = places.get(key, (key, False))
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        state[ours] = tensor.t().contiguous() if transposed and tensor.ndim == 2 else tensor
    return state
