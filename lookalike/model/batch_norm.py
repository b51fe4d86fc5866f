"""Batch norm as Paddle keeps it: the running variance is updated with the biased batch variance."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class BiasedRunningVariance(_BatchNorm):
    """Mixed in before a batch norm: the variance of a batch of n values enters divided by n, not by n - 1."""

    def forward(self, input: Tensor) -> Tensor:
        if not (self.training and self.track_running_stats and self.running_var is not None):
            return super().forward(input)
        kept = self.running_var
        # the gradient needs the statistics unchanged, so the layer updates a copy and the buffer is set from
        # it
        self.running_var = kept.clone()
        try:
            output = super().forward(input)
            updated = self.running_var
        finally:
            self.running_var = kept
        count = input.numel() // input.shape[1]
        if isinstance(self, nn.SyncBatchNorm) and torch.distributed.is_initialized():
            count *= torch.distributed.get_world_size()
        momentum = self.momentum if self.momentum is not None else 1.0 / float(self.num_batches_tracked or 1)
        with torch.no_grad():
            old = kept * (1.0 - momentum)
            kept.copy_(old + (updated - old) * ((count - 1) / count))
        return output


def use_biased_running_variance(module: nn.Module) -> None:
    """Turn every batch norm below a module, in place; its parameters and hooks stay."""
    for part in module.modules():
        if isinstance(part, _BatchNorm) and not isinstance(part, BiasedRunningVariance):
            kind = type(part)
            part.__class__ = type(f"Biased{kind.__name__}", (BiasedRunningVariance, kind), {})
