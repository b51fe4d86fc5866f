"""Conv4: the small plain network of the few-shot literature, for tiny pictures and training from scratch.

Source: Matching Networks, https://arxiv.org/abs/1606.04080.
"""

from __future__ import annotations

from typing import Literal

from torch import nn

from lookalike.core.errors import UserError
from lookalike.model.layers import start_conv
from lookalike.model.registries import backbones


class ConvPool(nn.Sequential):
    """3x3 convolution → batch norm → ReLU → 2x2 max pool."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = start_conv(nn.Conv2d(channels, out_channels, 3, padding=1, bias=False))
        self.bn = nn.BatchNorm2d(out_channels)
        self.act = nn.ReLU()
        self.max_pool = nn.MaxPool2d(2)


class Conv4(nn.Sequential):
    """ConvPool `depth` times → average pool → flatten.

    (N, C, H, W) → (N, width) with `pool: average`; with `pool: none` the last map is flattened, which makes
    width * (H / 2^depth) * (W / 2^depth) features.
    """

    def __init__(
        self,
        width: int = 64,
        depth: int = 4,
        pool: Literal["average", "none"] = "average",
        input_image_channel: int = 3,
        widths: list[int] | None = None,
    ) -> None:
        super().__init__()
        widths = [width] * depth if widths is None else widths
        if not widths or min(widths) < 1:
            raise UserError(
                f"Conv4 needs at least one block and a width of at least 1, got the widths {widths}"
            )
        inputs = [input_image_channel, *widths[:-1]]
        self.blocks = nn.Sequential(*(ConvPool(i, o) for i, o in zip(inputs, widths, strict=True)))
        if pool == "average":
            self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten(1)
        # without pooling the width of the output depends on the picture, so it cannot be checked when the
        # model is built
        self.size_decides_width = pool == "none"


backbones.register("Conv4", swallows={"output_dim": "the last layer decides the width"})(Conv4)
