"""MobileNetV1. Source: MobileNets, https://arxiv.org/abs/1704.04861."""

from __future__ import annotations

from functools import partial

from torch import nn

from lookalike.model.attributes import kaiming_normal
from lookalike.model.layers import ConvNorm
from lookalike.model.registries import backbones

_layer = partial(ConvNorm, activation=nn.ReLU, start="kaiming")

# channels in, channels out, stride of each depthwise separable block
_BLOCKS = [
    (32, 64, 1),
    (64, 128, 2),
    (128, 128, 1),
    (128, 256, 2),
    (256, 256, 1),
    (256, 512, 2),
    *[(512, 512, 1)] * 5,
    (512, 1024, 2),
    (1024, 1024, 1),
]


class DepthwiseSeparable(nn.Sequential):
    """3x3 depthwise convolution → pointwise convolution."""

    def __init__(self, channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.depthwise_conv = _layer(channels, channels, 3, stride, groups=channels)
        self.pointwise_conv = _layer(channels, out_channels, 1)


class MobileNetV1(nn.Sequential):
    """(N, 3, H, W) → (N, class_num). Cut at `flatten` it gives 1024 * scale features."""

    def __init__(self, scale: float, class_num: int) -> None:
        super().__init__()
        self.conv = _layer(3, int(32 * scale), 3, 2)
        self.blocks = nn.Sequential(
            *(
                DepthwiseSeparable(int(channels * scale), int(out_channels * scale), stride)
                for channels, out_channels, stride in _BLOCKS
            )
        )
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten(1)
        self.fc = nn.Linear(int(1024 * scale), class_num)
        kaiming_normal()(self.fc.weight)
        nn.init.zeros_(self.fc.bias)


def _register(name: str, scale: float) -> None:
    @backbones.register(name, swallows={"output_dim": "the last layer decides the width"})
    def build(class_num: int = 1000) -> nn.Module:
        return MobileNetV1(scale, class_num)


for _name, _scale in {"_x0_25": 0.25, "_x0_5": 0.5, "_x0_75": 0.75, "": 1.0}.items():
    _register(f"MobileNetV1{_name}", _scale)
