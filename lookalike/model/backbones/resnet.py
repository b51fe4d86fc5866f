"""ResNet, and the variant `vd` with three stem convolutions and pooled shortcuts.

Source: Deep Residual Learning, https://arxiv.org/abs/1512.03385; Bag of Tricks,
https://arxiv.org/abs/1812.01187. Unlike torchvision's, ResNet18 and 34 have a projection in the very first
shortcut too.
"""

from __future__ import annotations

import math
from functools import partial

from torch import Tensor, nn

from lookalike.core.numbers import Number
from lookalike.model.layers import ConvNorm, check_length, multiply_learning_rates
from lookalike.model.meta_norm import MetaBIN
from lookalike.model.registries import backbones

_DEPTHS = {
    18: [2, 2, 2, 2],
    34: [3, 4, 6, 3],
    50: [3, 4, 6, 3],
    101: [3, 4, 23, 3],
    152: [3, 8, 36, 3],
    200: [3, 12, 48, 3],
}
_WIDTHS = [64, 128, 256, 512]


class ResidualBlock(nn.Module):
    """relu(convolutions(x) + short(x)).

    The convolutions are two of 3x3, or (`bottleneck`) 1x1, 3x3, 1x1 with four times the width at the end.
    """

    def __init__(
        self, channels: int, width: int, stride: int, bottleneck: bool, first: bool, vd: bool
    ) -> None:
        super().__init__()
        out_channels = width * 4 if bottleneck else width
        if bottleneck:
            self.conv0 = ConvNorm(channels, width, 1)
            self.conv1 = ConvNorm(width, width, 3, stride)
            self.conv2: nn.Module = ConvNorm(width, out_channels, 1, activation=None)
        else:
            self.conv0 = ConvNorm(channels, width, 3, stride)
            self.conv1 = ConvNorm(width, width, 3, activation=None)
            self.conv2 = nn.Identity()
        self.short: nn.Module = nn.Identity()
        if first:
            pooled = vd and stride > 1
            self.short = ConvNorm(
                channels, out_channels, 1, 1 if pooled else stride, activation=None, pool=pooled
            )
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv2(self.conv1(self.conv0(x)))
        return self.relu(y + self.short(x))  # type: ignore[no-any-return]


class ResNet(nn.Sequential):
    """(N, 3, H, W) → (N, class_num). Cut at `avg_pool` it gives (N, C, 1, 1), at `flatten` (N, C)."""

    def __init__(
        self,
        depth: int,
        vd: bool,
        class_num: int,
        stem_act: str | None,
        stride_list: list[int],
        lr_mult_list: list[float],
        input_image_channel: int,
        max_pooled: bool,
    ) -> None:
        super().__init__()
        check_length(stride_list, 5, "stride_list")
        stem = partial(ConvNorm, activation=nn.ReLU if stem_act else None)
        if vd:
            self.stem = nn.Sequential(
                stem(input_image_channel, 32, 3, stride_list[0]), stem(32, 32, 3), stem(32, 64, 3)
            )
        else:
            self.stem = nn.Sequential(stem(input_image_channel, 64, 7, stride_list[0]))
        self.max_pool = nn.MaxPool2d(3, stride_list[1], padding=1)
        bottleneck = depth >= 50
        blocks: list[nn.Module] = []
        stages: list[nn.Module] = []
        channels = 64
        # the pooling has the stride before the first stage
        strides = [1, *stride_list[2:]]
        for count, width, stride in zip(_DEPTHS[depth], _WIDTHS, strides, strict=True):
            stage = []
            for index in range(count):
                first = index == 0
                stage.append(ResidualBlock(channels, width, stride if first else 1, bottleneck, first, vd))
                channels = width * 4 if bottleneck else width
                blocks.append(stage[-1])
            stages.append(nn.ModuleList(stage))
        multiply_learning_rates([self.stem, *stages], lr_mult_list, "lr_mult_list")
        self.blocks = nn.Sequential(*blocks)
        self.avg_pool: nn.Module = nn.AdaptiveMaxPool2d(1) if max_pooled else nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten(1)
        self.fc = nn.Linear(channels, class_num)
        limit = 1.0 / math.sqrt(channels)
        nn.init.uniform_(self.fc.weight, -limit, limit)
        nn.init.zeros_(self.fc.bias)


_SWALLOWED = {
    "output_dim": "the last layer decides the width",
    "data_format": "the memory layout is a setting of the engine",
}


def _register(
    name: str, depth: int, vd: bool = False, last_stride: int = 2, max_pooled: bool = False
) -> None:
    @backbones.register(name, swallows=_SWALLOWED)
    def build(
        class_num: int = 1000,
        stem_act: str | None = "relu",
        stride_list: list[int] = [2, 2, 2, 2, last_stride],  # noqa: B006
        lr_mult_list: list[float] = [1.0] * 5,
        input_image_channel: int = 3,
    ) -> nn.Module:
        return ResNet(
            depth, vd, class_num, stem_act, stride_list, lr_mult_list, input_image_channel, max_pooled
        )


for _depth in _DEPTHS:
    if _depth != 200:
        _register(f"ResNet{_depth}", _depth)
    _register(f"ResNet{_depth}_vd", _depth, vd=True)
_register("ResNet50_last_stage_stride1", 50, last_stride=1)
_register("ResNet50_adaptive_max_pool2d", 50, max_pooled=True)


@backbones.register("ResNet50_metabin", swallows=_SWALLOWED)
def resnet50_metabin(
    class_num: int = 1000,
    stem_act: str | None = "relu",
    stride_list: list[int] = [2, 2, 2, 2, 1],  # noqa: B006
    lr_mult_list: list[float] = [1.0] * 5,
    input_image_channel: int = 3,
    bias_lr_factor: Number = 1.0,
) -> nn.Module:
    """ResNet50_last_stage_stride1 whose norms are MetaBIN: batch and instance norm, mixed by gates.

    `bias_lr_factor` is the factor of the learning rate of all biases, in place of that of `lr_mult_list`,
    which does not reach the norms either, as in the reference.
    """
    net = ResNet(50, False, class_num, stem_act, stride_list, lr_mult_list, input_image_channel, False)
    for part in net.modules():
        if isinstance(part, ConvNorm):
            part.add_module("bn", MetaBIN(part.bn.num_features))
    for name, parameter in net.named_parameters():
        if name.endswith("bias"):
            parameter.lr_multiplier = bias_lr_factor  # type: ignore[attr-defined]
    return net
