"""PP-LCNet. Source: A Lightweight CPU Convolutional Neural Network, https://arxiv.org/abs/2109.15099."""

from __future__ import annotations

from functools import partial

from torch import nn

from lookalike.model.layers import (
    ConvNorm,
    DownscaleInInferDropout,
    HardSigmoid,
    SqueezeExcite,
    Suffixed,
    check_length,
    make_divisible,
    multiply_learning_rates,
    start_conv,
    start_linear,
)
from lookalike.model.registries import backbones

SCALES = {
    "x0_25": 0.25,
    "x0_35": 0.35,
    "x0_5": 0.5,
    "x0_75": 0.75,
    "x1_0": 1.0,
    "x1_5": 1.5,
    "x2_0": 2.0,
    "x2_5": 2.5,
}

# stage: (kernel, channels in, channels out, squeeze-and-excite) of each block; the first block of a stage has
# its stride
_STAGES: dict[str, list[tuple[int, int, int, bool]]] = {
    "blocks2": [(3, 16, 32, False)],
    "blocks3": [(3, 32, 64, False), (3, 64, 64, False)],
    "blocks4": [(3, 64, 128, False), (3, 128, 128, False)],
    "blocks5": [(3, 128, 256, False), *[(5, 256, 256, False)] * 5],
    "blocks6": [(5, 256, 512, True), (5, 512, 512, True)],
}

_layer = partial(ConvNorm, activation=nn.Hardswish, start="kaiming", decay_norm=False)


class DepthwiseSeparable(nn.Sequential):
    """Depthwise convolution [→ squeeze-and-excite] → pointwise convolution."""

    def __init__(self, channels: int, out_channels: int, kernel_size: int, stride: int, excite: bool) -> None:
        super().__init__()
        self.dw_conv = _layer(channels, channels, kernel_size, stride, groups=channels)
        if excite:
            self.se = SqueezeExcite(channels, HardSigmoid(1 / 6))
        self.pw_conv = _layer(channels, out_channels, 1)


class PPLCNet(nn.Sequential):
    """(N, 3, H, W) → (N, class_num).

    Cut at `flatten` it gives `class_expand` features, times the 0.8 of the dropout at eval.
    """

    def __init__(
        self,
        scale: float,
        class_num: int,
        class_expand: int,
        dropout_prob: float,
        use_last_conv: bool,
        stride_list: list[int],
        lr_mult_list: list[float],
    ) -> None:
        super().__init__()
        check_length(stride_list, 5, "stride_list")
        self.conv1 = _layer(3, make_divisible(16 * scale), 3, stride_list[0])
        strides = [1, *stride_list[1:]]
        for (name, blocks), first_stride in zip(_STAGES.items(), strides, strict=True):
            stage = [
                DepthwiseSeparable(
                    make_divisible(channels * scale),
                    make_divisible(out_channels * scale),
                    kernel,
                    first_stride if index == 0 else 1,
                    excite,
                )
                for index, (kernel, channels, out_channels, excite) in enumerate(blocks)
            ]
            self.add_module(name, nn.Sequential(*stage))
        width = make_divisible(512 * scale)
        multiply_learning_rates(list(self.children()), lr_mult_list, "lr_mult_list")
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        if use_last_conv:
            self.last_conv = start_conv(nn.Conv2d(width, class_expand, 1, bias=False))
            self.hardswish = nn.Hardswish()
            self.dropout = DownscaleInInferDropout(dropout_prob)
            width = class_expand
        self.flatten = nn.Flatten(1)
        self.fc: nn.Module = start_linear(nn.Linear(width, class_num))


def _register(suffix: str, scale: float) -> None:
    @backbones.register(f"PPLCNet_{suffix}", swallows={"output_dim": "the last layer decides the width"})
    def build(
        class_num: int = 1000,
        class_expand: int = 1280,
        dropout_prob: float = 0.2,
        use_last_conv: bool = True,
        stride_list: list[int] = [2, 2, 2, 2, 2],  # noqa: B006
        lr_mult_list: list[float] = [1.0] * 6,
    ) -> nn.Module:
        return PPLCNet(scale, class_num, class_expand, dropout_prob, use_last_conv, stride_list, lr_mult_list)


for _suffix, _scale in SCALES.items():
    _register(_suffix, _scale)


@backbones.register("PPLCNet_x2_5_Tanh", swallows={"output_dim": "class_num is the code length"})
def pplcnet_x2_5_tanh(
    class_num: int = 1000,
    class_expand: int = 1280,
    dropout_prob: float = 0.2,
    use_last_conv: bool = True,
    stride_list: list[int] = [2, 2, 2, 2, 2],  # noqa: B006
    lr_mult_list: list[float] = [1.0] * 6,
) -> nn.Module:
    """PPLCNet_x2_5 whose output is tanh of the last linear layer; class_num is the length of the code."""
    net = PPLCNet(2.5, class_num, class_expand, dropout_prob, use_last_conv, stride_list, lr_mult_list)
    net.fc = Suffixed(net.fc, "tanh", nn.Tanh())
    return net
