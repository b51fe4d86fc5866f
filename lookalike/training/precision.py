"""Mixed precision: what the AMP section of a recipe turns on."""

from __future__ import annotations

import contextlib
import platform
from typing import Any

import torch

from lookalike.core.errors import UserError
from lookalike.core.log import warn_once

_DTYPES = {
    "bfloat16": torch.bfloat16,
    "bf16": torch.bfloat16,
    "float16": torch.float16,
    "fp16": torch.float16,
}


class StaticScaler(torch.amp.GradScaler):
    """A loss scale that stays as it is; an update whose gradients overflow is left out all the same."""

    def __init__(self, device: str, init_scale: float, enabled: bool) -> None:
        super().__init__(device, init_scale=init_scale, enabled=enabled)
        self.own_scale = init_scale

    def update(self, new_scale: float | torch.Tensor | None = None) -> None:
        super().update(self.own_scale)


class Precision:
    """Autocast for the forward pass and, for float16, a scaler of the loss.

    Level O1 and O2 both keep float32 weights and cast operation by operation. The type is float16 on CUDA and
    bfloat16 on the CPU unless `AMP.dtype` says otherwise. `scale_loss` and `use_dynamic_loss_scaling` matter
    for float16 only.
    """

    def __init__(self, amp: Any | None, device: torch.device) -> None:
        self.device = device
        self.enabled = amp is not None and bool(amp.use_amp)
        name = (amp.dtype if amp is not None else None) or (
            "float16" if device.type == "cuda" else "bfloat16"
        )
        if name not in _DTYPES:
            raise UserError(f"AMP.dtype is '{name}'; accepted are bfloat16 and float16")
        self.dtype = _DTYPES[name]
        if self.enabled and amp is not None and str(amp.level).upper() == "O2":
            warn_once("AMP.level O2 runs as O1 here: weights stay float32, operations are cast one by one")
        if self.enabled and self.dtype is torch.float16 and device.type == "cpu":
            warn_once("AMP.dtype float16 is slow on a CPU; bfloat16 is what it computes fast")
        if self.enabled and device.type == "cpu" and not _computes_bfloat16():
            warn_once(
                "AMP: this processor has no instructions for half precision, with which training is many "
                "times slower than without: -o AMP.use_amp=False"
            )
        scaling = self.enabled and self.dtype is torch.float16 and device.type == "cuda"
        dynamic = amp is not None and bool(amp.use_dynamic_loss_scaling)
        scale = float(amp.scale_loss) if amp is not None and scaling else 1.0
        kind = torch.amp.GradScaler if dynamic else StaticScaler
        self.scaler = kind(device.type, init_scale=scale, enabled=scaling)

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """The context in which the model runs forward."""
        if not self.enabled:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)


def _computes_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 by itself; unknown counts as yes."""
    asks = [
        getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    ]
    return platform.machine() not in ("x86_64", "AMD64") or any(ask is None or ask() for ask in asks)
