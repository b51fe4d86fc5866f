"""DarkNet53. Source: YOLOv3, https://arxiv.org/abs/1804.02767.

The reference differs from the paper: ReLU instead of leaky ReLU.
"""

from __future__ import annotations

import math
from functools import partial

from torch import Tensor, nn

from lookalike.model.layers import ConvNorm, underscored
from lookalike.model.registries import backbones

_COUNTS = [1, 2, 8, 8, 4]


class ResidualBlock(nn.Module):
    """x + 3x3 convolution(1x1 convolution to half the channels(x))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(channels, channels // 2, 1)
        self.conv2 = ConvNorm(channels // 2, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(self.conv1(x))  # type: ignore[no-any-return]


@backbones.register("DarkNet53", swallows={"output_dim": "the last layer decides the width"})
class DarkNet53(nn.Sequential):
    """(N, 3, H, W) → (N, class_num). Cut at `flatten` it gives 1024 features.

    The reference cannot cut it at a stop layer; here every layer can be named.
    """

    reference_keys = staticmethod(underscored)

    def __init__(self, class_num: int = 1000) -> None:
        super().__init__()
        halved = partial(ConvNorm, kernel_size=3, stride=2)
        self.conv1 = ConvNorm(3, 32, 3)
        self.conv2 = halved(32, 64)
        channels = 64
        for stage, count in enumerate(_COUNTS):
            if stage > 0:
                self.add_module(f"downsample_{stage - 1}", halved(channels, channels * 2))
                channels *= 2
            for number in range(1, count + 1):
                self.add_module(f"basic_block_{stage}{number}", ResidualBlock(channels))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten(1)
        self.out = nn.Linear(channels, class_num)
        limit = 1.0 / math.sqrt(channels)
        nn.init.uniform_(self.out.weight, -limit, limit)
        nn.init.zeros_(self.out.bias)
