"""PP-LCNetV2: depthwise convolutions trained as several branches that become one convolution for inference.

Source: PaddleClas documentation of PP-LCNetV2; re-parameterisation after RepVGG,
https://arxiv.org/abs/2101.03697.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lookalike.model.layers import (
    ConvNorm,
    DownscaleInInferDropout,
    SqueezeExcite,
    make_divisible,
    start_conv,
    start_linear,
)
from lookalike.model.registries import backbones

_layer = partial(ConvNorm, activation=nn.ReLU, start="kaiming", decay_norm=False)

# channels in, kernel, pointwise in two halves, several branches, squeeze-and-excite, shortcut
_STAGES: list[tuple[int, int, bool, bool, bool, bool]] = [
    (64, 3, False, False, False, False),
    (128, 3, False, False, False, False),
    (256, 5, True, True, True, False),
    (512, 5, False, True, False, True),
]


class RepDepthwiseSeparable(nn.Module):
    """Depthwise (branches of kernel k, k-2, …, 1) → ReLU [→ squeeze-and-excite] → pointwise [→ + input].

    The reference keeps the later single convolution as idle parameters `dw_conv.*` beside the branches; here
    it comes into being with `fuse()` only, so nothing idle is trained, averaged or saved.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        stride: int,
        kernel_size: int,
        split: bool = False,
        branches: bool = False,
        excite: bool = False,
        shortcut: bool = False,
    ) -> None:
        super().__init__()
        self.stride, self.kernel_size = stride, kernel_size
        self.shortcut = shortcut and stride == 1 and channels == out_channels
        self.dw_conv_list: nn.ModuleList | None = None
        if branches:
            # a 1x1 branch exists only where it sees every position
            sizes = [size for size in range(kernel_size, 0, -2) if size > 1 or stride == 1]
            self.dw_conv_list = nn.ModuleList(
                _layer(channels, channels, size, stride, groups=channels, activation=None) for size in sizes
            )
            self.act: nn.Module = nn.ReLU()
        else:
            self.dw_conv: nn.Module = _layer(channels, channels, kernel_size, stride, groups=channels)
            self.act = nn.Identity()
        self.se: nn.Module = SqueezeExcite(channels, nn.Sigmoid()) if excite else nn.Identity()
        self.split = split
        if split:
            self.pw_conv_1 = _layer(channels, out_channels // 2, 1)
            self.pw_conv_2 = _layer(out_channels // 2, out_channels, 1)
        else:
            self.pw_conv = _layer(channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        if self.dw_conv_list is not None:
            y: Tensor = self.dw_conv_list[0](x)
            for branch in self.dw_conv_list[1:]:
                y = y + branch(x)
        else:
            y = self.dw_conv(x)
        y = self.se(self.act(y))
        y = self.pw_conv_2(self.pw_conv_1(y)) if self.split else self.pw_conv(y)
        return x + y if self.shortcut else y

    @torch.no_grad()
    def fused_branches(self) -> tuple[Tensor, Tensor] | None:
        """Kernel and bias of the convolution that equals the branches at eval; None where there are none."""
        if self.dw_conv_list is None:
            return None
        kernels, biases = [], []
        for branch in self.dw_conv_list:
            kernel, bias = _fold(branch)
            margin = (self.kernel_size - kernel.shape[-1]) // 2
            kernels.append(F.pad(kernel, (margin, margin, margin, margin)))
            biases.append(bias)
        return torch.stack(kernels).sum(0), torch.stack(biases).sum(0)

    def fuse(self) -> None:
        """Replace the branches by the one convolution that gives the same output at eval."""
        fused = self.fused_branches()
        if fused is None:
            return
        kernel, bias = fused
        channels = kernel.shape[0]
        conv = nn.Conv2d(
            channels, channels, self.kernel_size, self.stride, (self.kernel_size - 1) // 2, groups=channels
        )
        conv.to(kernel)
        with torch.no_grad():
            conv.weight.copy_(kernel)
            conv.bias.copy_(bias)  # type: ignore[union-attr]
        self.dw_conv = conv.train(self.training)
        self.dw_conv_list = None


def _fold(layer: nn.Module) -> tuple[Tensor, Tensor]:
    assert isinstance(layer, ConvNorm)
    norm = layer.bn
    assert norm.running_mean is not None
    assert norm.running_var is not None
    factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return layer.conv.weight * factor.reshape(-1, 1, 1, 1), norm.bias - norm.running_mean * factor


class PPLCNetV2(nn.Sequential):
    """(N, 3, H, W) → (N, class_num).

    Cut at `flatten` it gives `class_expand` features, times the 0.8 of the dropout at eval.

    `recognition` makes the variant of PP-ShiTu V2: stride 1 in the last stage, a bias and no ReLU on the last
    convolution.
    """

    def __init__(
        self,
        scale: float,
        depths: list[int],
        class_num: int,
        class_expand: int,
        dropout_prob: float,
        use_last_conv: bool,
        recognition: bool = False,
    ) -> None:
        super().__init__()
        first = make_divisible(32 * scale)
        self.stem = nn.Sequential(
            _layer(3, first, 3, 2), RepDepthwiseSeparable(first, make_divisible(64 * scale), 1, 3)
        )
        stages = []
        for number, (depth, (width, kernel, split, branches, excite, shortcut)) in enumerate(
            zip(depths, _STAGES, strict=True)
        ):
            channels, out_channels = make_divisible(width * scale), make_divisible(width * 2 * scale)
            first_stride = 1 if recognition and number == 3 else 2
            blocks = [
                RepDepthwiseSeparable(
                    channels if index == 0 else out_channels,
                    out_channels,
                    first_stride if index == 0 else 1,
                    kernel,
                    split,
                    branches,
                    excite,
                    shortcut,
                )
                for index in range(depth)
            ]
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        width = make_divisible(_STAGES[-1][0] * 2 * scale)
        if use_last_conv:
            self.last_conv = start_conv(nn.Conv2d(width, class_expand, 1, bias=recognition))
            self.act = nn.Identity() if recognition else nn.ReLU()
            self.dropout = DownscaleInInferDropout(dropout_prob)
            width = class_expand
        self.flatten = nn.Flatten(1)
        self.fc = start_linear(nn.Linear(width, class_num))


def _register(name: str, scale: float, depths: list[int], recognition: bool = False) -> None:
    @backbones.register(name, swallows={"output_dim": "the last layer decides the width"})
    def build(
        class_num: int = 1000,
        class_expand: int = 1280,
        dropout_prob: float = 0.2,
        use_last_conv: bool = True,
    ) -> nn.Module:
        return PPLCNetV2(scale, depths, class_num, class_expand, dropout_prob, use_last_conv, recognition)


_register("PPLCNetV2_small", 0.75, [2, 2, 4, 2])
_register("PPLCNetV2_base", 1.0, [2, 2, 6, 2])
_register("PPLCNetV2_large", 1.25, [2, 2, 8, 2])
_register("PPLCNetV2_base_ShiTu", 1.0, [2, 2, 6, 2], recognition=True)
