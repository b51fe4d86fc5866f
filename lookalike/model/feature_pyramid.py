"""A neck that fuses several stages of a backbone into one embedding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lookalike.core.errors import UserError
from lookalike.model.layers import start_conv, start_linear
from lookalike.model.pooling import GeM
from lookalike.model.registries import necks


@necks.register("FPN")
class FPN(nn.Module):
    """Maps of several stages, each enriched by the coarser ones, pooled and joined. (N, embedding_size).

    t_i = lateral_i(x_i) + upsample(t_{i+1}) from the last stage down; the embedding is W p + b, where p joins
    pool(smooth_i(t_i)) of all stages. Lateral convolutions are 1x1 to `out_channels`, smooth ones 3x3, and
    upsampling takes the nearest. Source: Feature Pyramid Networks, https://arxiv.org/abs/1612.03144.

    The stages are what `return_stages` or `return_patterns` of the backbone name, from fine to coarse;
    `in_channels` are their channels. The backbone's last output is not read.
    """

    takes_layers = True
    in_features = None

    def __init__(
        self,
        in_channels: list[int],
        embedding_size: int,
        out_channels: int = 256,
        pool: Literal["average", "max", "gem"] = "average",
    ) -> None:
        super().__init__()
        if not in_channels:
            raise UserError("FPN needs the channels of at least one stage in in_channels")
        self.in_channels, self.out_features = in_channels, embedding_size
        self.lateral = nn.ModuleList(start_conv(nn.Conv2d(width, out_channels, 1)) for width in in_channels)
        self.smooth = nn.ModuleList(
            start_conv(nn.Conv2d(out_channels, out_channels, 3, padding=1)) for _ in in_channels
        )
        self.pool = nn.ModuleList(_pooling(pool) for _ in in_channels)
        self.fc = start_linear(nn.Linear(out_channels * len(in_channels), embedding_size))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Raises UserError for another number of stages, or one that is no map."""
        if len(maps) != len(self.in_channels) or any(each.ndim != 4 for each in maps):
            got = ", ".join(str(tuple(each.shape[1:])) for each in maps)
            raise UserError(
                f"FPN has in_channels for {len(self.in_channels)} maps (C, H, W), but is given {got}"
            )
        levels: list[Tensor] = []
        for lateral, each in zip(reversed(self.lateral), reversed(maps), strict=True):
            level = lateral(each)
            if levels:
                level = level + F.interpolate(levels[-1], size=level.shape[-2:], mode="nearest")
            levels.append(level)
        levels.reverse()
        pooled = [
            pool(smooth(level)).flatten(1)
            for level, smooth, pool in zip(levels, self.smooth, self.pool, strict=True)
        ]
        return self.fc(torch.cat(pooled, dim=1))  # type: ignore[no-any-return]


def _pooling(kind: str) -> nn.Module:
    if kind == "gem":
        return GeM()
    return nn.AdaptiveMaxPool2d(1) if kind == "max" else nn.AdaptiveAvgPool2d(1)
