"""MobileNetV2. Source: Inverted Residuals and Linear Bottlenecks, https://arxiv.org/abs/1801.04381.

The reference differs from the paper and from timm's network: the first block has a 1x1 convolution of its own
before the depthwise one although it does not widen, and narrow variants round channels down to whole numbers
rather than to multiples of 8.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from lookalike.model.layers import ConvNorm, start_linear
from lookalike.model.registries import backbones

_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""How often wider inside, channels, blocks and first stride of each stage."""


class InvertedResidual(nn.Module):
    """linear 1x1(relu6(depthwise 3x3(relu6(1x1(x))))), with x added in blocks that repeat (`residual`)."""

    def __init__(self, channels: int, out_channels: int, stride: int, widening: int, residual: bool) -> None:
        super().__init__()
        inside = channels * widening
        self.residual = residual
        self.expand_conv = ConvNorm(channels, inside, 1, activation=nn.ReLU6)
        self.bottleneck_conv = ConvNorm(inside, inside, 3, stride, groups=inside, activation=nn.ReLU6)
        self.linear_conv = ConvNorm(inside, out_channels, 1, activation=None)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.linear_conv(self.bottleneck_conv(self.expand_conv(x)))
        return x + y if self.residual else y


class MobileNetV2(nn.Sequential):
    """(N, 3, H, W) → (N, class_num). Cut at `flatten` it gives 1280 features, more in variants wider than 1.

    The reference cannot cut it at a stop layer; here every layer can be named.
    """

    def __init__(self, scale: float, class_num: int) -> None:
        super().__init__()
        channels = int(32 * scale)
        self.conv1 = ConvNorm(3, channels, 3, 2, activation=nn.ReLU6)
        for number, (widening, width, count, stride) in enumerate(_STAGES, start=2):
            out_channels = int(width * scale)
            stage = nn.Sequential()
            for block in range(count):
                name = f"conv{number}_{block + 1}" if block else "first_block"
                first = (channels, out_channels, stride, widening, False)
                again = (out_channels, out_channels, 1, widening, True)
                stage.add_module(name, InvertedResidual(*(again if block else first)))
            self.add_module(f"conv{number}", stage)
            channels = out_channels
        features = int(1280 * scale) if scale > 1 else 1280
        self.conv9 = ConvNorm(channels, features, 1, activation=nn.ReLU6)
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten(1)
        self.out = start_linear(nn.Linear(features, class_num))
        self.reference_keys = _reference_key
        body = (key for key in self.state_dict() if not key.startswith("out."))
        self.required_from_reference = [key for key in body if not key.endswith("num_batches_tracked")]


def _reference_key(key: str) -> str:
    """`conv2.first_block.expand_conv.bn.bias` → `conv2._first_block._expand_conv._batch_norm.bias`."""
    parts = {"conv": "_conv", "bn": "_batch_norm", "first_block": "_first_block"}
    parts |= {name: f"_{name}" for name in ("expand_conv", "bottleneck_conv", "linear_conv")}
    return ".".join(parts.get(part, part) for part in key.split("."))


def _variant(scale: float) -> Callable[..., nn.Module]:
    def build(class_num: int = 1000) -> nn.Module:
        return MobileNetV2(scale, class_num)

    return build


for _name, _scale in (
    ("MobileNetV2_x0_25", 0.25),
    ("MobileNetV2_x0_5", 0.5),
    ("MobileNetV2_x0_75", 0.75),
    ("MobileNetV2", 1.0),
    ("MobileNetV2_x1_5", 1.5),
    ("MobileNetV2_x2_0", 2.0),
):
    backbones.register(_name)(_variant(_scale))
