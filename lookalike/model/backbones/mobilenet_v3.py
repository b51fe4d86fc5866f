"""MobileNetV3. Source: Searching for MobileNetV3, https://arxiv.org/abs/1905.02244.

The reference differs from the paper: the hard sigmoid has slope 0.2, and both sizes end in 1280 channels.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from lookalike.model.layers import (
    ConvNorm,
    DownscaleInInferDropout,
    HardSigmoid,
    SqueezeExcite,
    make_divisible,
    start_conv,
    start_linear,
)
from lookalike.model.registries import backbones

_layer = partial(ConvNorm, decay_norm=False)

# kernel, expanded channels, channels out, squeeze-and-excite, hard swish (else ReLU), stride
_Row = tuple[int, int, int, bool, bool, int]
_LARGE: list[_Row] = [
    (3, 16, 16, False, False, 1),
    (3, 64, 24, False, False, 2),
    (3, 72, 24, False, False, 1),
    (5, 72, 40, True, False, 2),
    (5, 120, 40, True, False, 1),
    (5, 120, 40, True, False, 1),
    (3, 240, 80, False, True, 2),
    (3, 200, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 480, 112, True, True, 1),
    (3, 672, 112, True, True, 1),
    (5, 672, 160, True, True, 2),
    (5, 960, 160, True, True, 1),
    (5, 960, 160, True, True, 1),
]
_SMALL: list[_Row] = [
    (3, 16, 16, True, False, 2),
    (3, 72, 24, False, False, 2),
    (3, 88, 24, False, False, 1),
    (5, 96, 40, True, True, 2),
    (5, 240, 40, True, True, 1),
    (5, 240, 40, True, True, 1),
    (5, 120, 48, True, True, 1),
    (5, 144, 48, True, True, 1),
    (5, 288, 96, True, True, 2),
    (5, 576, 96, True, True, 1),
    (5, 576, 96, True, True, 1),
]


class InvertedResidual(nn.Module):
    """Expand → depthwise [→ squeeze-and-excite] → project [→ + input]."""

    def __init__(
        self,
        channels: int,
        expanded: int,
        out_channels: int,
        kernel: int,
        stride: int,
        excite: bool,
        swish: bool,
    ) -> None:
        super().__init__()
        activation = nn.Hardswish if swish else nn.ReLU
        self.shortcut = stride == 1 and channels == out_channels
        self.expand_conv = _layer(channels, expanded, 1, activation=activation)
        self.bottleneck_conv = _layer(
            expanded, expanded, kernel, stride, groups=expanded, activation=activation
        )
        self.mid_se: nn.Module = SqueezeExcite(expanded, HardSigmoid(0.2)) if excite else nn.Identity()
        self.linear_conv = _layer(expanded, out_channels, 1, activation=None)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.linear_conv(self.mid_se(self.bottleneck_conv(self.expand_conv(x))))
        return x + y if self.shortcut else y


class MobileNetV3(nn.Sequential):
    """(N, 3, H, W) → (N, class_num). Cut at `flatten` it gives `class_expand` features."""

    def __init__(
        self,
        rows: list[_Row],
        squeezed: int,
        scale: float,
        class_num: int,
        class_expand: int,
        dropout_prob: float,
    ) -> None:
        super().__init__()
        channels = make_divisible(16 * scale)
        self.conv = _layer(3, channels, 3, 2, activation=nn.Hardswish)
        blocks = []
        for kernel, expanded, out, excite, swish, stride in rows:
            out_channels = make_divisible(out * scale)
            blocks.append(
                InvertedResidual(
                    channels, make_divisible(expanded * scale), out_channels, kernel, stride, excite, swish
                )
            )
            channels = out_channels
        self.blocks = nn.Sequential(*blocks)
        width = make_divisible(squeezed * scale)
        self.last_second_conv = _layer(channels, width, 1, activation=nn.Hardswish)
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.last_conv = start_conv(nn.Conv2d(width, class_expand, 1, bias=False))
        self.hardswish = nn.Hardswish()
        self.dropout = DownscaleInInferDropout(dropout_prob)
        self.flatten = nn.Flatten(1)
        self.fc = start_linear(nn.Linear(class_expand, class_num))


def _register(name: str, rows: list[_Row], squeezed: int, scale: float) -> None:
    @backbones.register(name, swallows={"output_dim": "the last layer decides the width"})
    def build(class_num: int = 1000, class_expand: int = 1280, dropout_prob: float = 0.2) -> nn.Module:
        return MobileNetV3(rows, squeezed, scale, class_num, class_expand, dropout_prob)


for _suffix, _scale in {"x0_35": 0.35, "x0_5": 0.5, "x0_75": 0.75, "x1_0": 1.0, "x1_25": 1.25}.items():
    _register(f"MobileNetV3_large_{_suffix}", _LARGE, 960, _scale)
    _register(f"MobileNetV3_small_{_suffix}", _SMALL, 576, _scale)
