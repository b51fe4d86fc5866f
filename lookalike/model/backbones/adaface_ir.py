"""IR: the improved residual networks of face recognition, as AdaFace trains them.

Source: ArcFace, https://arxiv.org/abs/1801.07698, and AdaFace, https://arxiv.org/abs/2204.00964.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from lookalike.core.errors import UserError
from lookalike.model.attributes import kaiming_normal, xavier_uniform
from lookalike.model.layers import start_conv
from lookalike.model.registries import backbones


@dataclass(frozen=True)
class _Plan:
    """Blocks of each stage, their widths, and whether they are bottlenecks."""

    counts: tuple[int, ...]
    widths: tuple[int, ...] = (64, 128, 256, 512)
    bottleneck: bool = False


_WIDE = (256, 512, 1024, 2048)
_PLANS = {
    "18": _Plan((2, 2, 2, 2)),
    "34": _Plan((3, 4, 6, 3)),
    "50": _Plan((3, 4, 14, 3)),
    "101": _Plan((3, 13, 30, 3)),
    "152": _Plan((3, 8, 36, 3), _WIDE, bottleneck=True),
    "200": _Plan((3, 24, 36, 3), _WIDE, bottleneck=True),
}


def _conv(channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> nn.Conv2d:
    padding = kernel_size // 2
    return start_conv(nn.Conv2d(channels, out_channels, kernel_size, stride, padding, bias=False), "kaiming")


class SqueezeExcite(nn.Module):
    """x * sigmoid(fc2(relu(fc1(mean(x))))), without biases."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = _conv(channels, channels // reduction, 1)
        xavier_uniform()(self.fc1.weight)
        self.relu = nn.ReLU()
        self.fc2 = _conv(channels // reduction, channels, 1)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        weight: Tensor = self.sigmoid(self.fc2(self.relu(self.fc1(self.avg_pool(x)))))
        return x * weight


class ImprovedResidualBlock(nn.Module):
    """res_layer(x) + shortcut_layer(x), without an activation at the end; batch norm comes first.

    The branch is two 3x3 convolutions, or (`bottleneck`) 1x1, 3x3, 1x1 through a quarter of the channels; the
    last has the stride. The shortcut takes every `stride`-th pixel, or is a 1x1 convolution where the
    channels change.
    """

    def __init__(self, channels: int, width: int, stride: int, bottleneck: bool, excite: bool) -> None:
        super().__init__()
        self.shortcut_layer: nn.Module = nn.MaxPool2d(1, stride)
        if channels != width:
            self.shortcut_layer = nn.Sequential(_conv(channels, width, 1, stride), nn.BatchNorm2d(width))
        inner = width // 4 if bottleneck else width
        kernels = (1, 3, 1) if bottleneck else (3, 3)
        layers: list[nn.Module] = [nn.BatchNorm2d(channels)]
        for kernel in kernels[:-1]:
            layers += [_conv(channels, inner, kernel), nn.BatchNorm2d(inner), nn.PReLU(inner)]
            channels = inner
        layers += [_conv(channels, width, kernels[-1], stride), nn.BatchNorm2d(width)]
        self.res_layer = nn.Sequential(*layers)
        if excite:
            self.res_layer.add_module("se_block", SqueezeExcite(width))

    def forward(self, x: Tensor) -> Tensor:
        return self.res_layer(x) + self.shortcut_layer(x)  # type: ignore[no-any-return]


class ImprovedResidualNetwork(nn.Sequential):
    """(N, 3, S, S) → (N, 512), with S = `input_size`, 112 or 224.

    The reference cannot cut it at a stop layer; here every layer can be named.
    """

    def __init__(self, plan: _Plan, excite: bool, input_size: list[int]) -> None:
        super().__init__()
        if len(input_size) != 2 or input_size[0] != input_size[1] or input_size[0] not in (112, 224):
            raise UserError(f"input_size must be [112, 112] or [224, 224], got {input_size}")
        self.input_layer = nn.Sequential(_conv(3, 64, 3), nn.BatchNorm2d(64), nn.PReLU(64))
        blocks, channels = [], 64
        for count, width in zip(plan.counts, plan.widths, strict=True):
            for index in range(count):
                stride = 2 if index == 0 else 1
                blocks.append(ImprovedResidualBlock(channels, width, stride, plan.bottleneck, excite))
                channels = width
        self.body = nn.Sequential(*blocks)
        linear = nn.Linear(channels * (input_size[0] // 16) ** 2, 512)
        kaiming_normal()(linear.weight)
        nn.init.zeros_(linear.bias)
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(channels),
            nn.Dropout(0.4),
            nn.Flatten(1),
            linear,
            nn.BatchNorm1d(512, affine=False),
        )
        self.image_shape = (3, *input_size)


def _register(depth: str, kind: Literal["IR", "IR_SE"]) -> None:
    @backbones.register(f"AdaFace_{kind}_{depth}")
    def build(input_size: list[int] = [112, 112]) -> nn.Module:  # noqa: B006
        return ImprovedResidualNetwork(_PLANS[depth], kind == "IR_SE", input_size)


for _depth in ("18", "34", "50", "101", "152"):
    _register(_depth, "IR")
for _depth in ("50", "101", "152", "200"):
    _register(_depth, "IR_SE")
