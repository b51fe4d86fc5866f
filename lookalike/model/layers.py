"""Pieces that several backbones share, with the reference's module names and starting values."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from lookalike.core.errors import UserError
from lookalike.model.attributes import kaiming_normal, xavier_uniform

Start = Literal["default", "kaiming"]
Activation = Callable[[], nn.Module]


def make_divisible(value: float, divisor: int = 8) -> int:
    """The multiple of `divisor` nearest to a channel count, never more than a tenth below it."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def start_conv(conv: nn.Conv2d, start: Start = "default") -> nn.Conv2d:
    """Give a convolution the reference's starting values.

    `default` is Paddle's own rule, Normal(0, sqrt(2 / (k * k * channels in))) with the channels not divided
    by the groups; `kaiming` divides them. Biases start at 0.
    """
    if start == "kaiming":
        kaiming_normal()(conv.weight)
    else:
        fan = conv.in_channels * math.prod(conv.kernel_size)
        nn.init.normal_(conv.weight, 0.0, math.sqrt(2.0 / fan))
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


def start_linear(linear: nn.Linear) -> nn.Linear:
    """Paddle's rule for a linear layer: XavierUniform, bias 0."""
    xavier_uniform()(linear.weight)
    if linear.bias is not None:
        nn.init.zeros_(linear.bias)
    return linear


class ConvNorm(nn.Sequential):
    """[average pool →] convolution without bias → batch norm [→ activation].

    `decay_norm` False marks weight and bias of the batch norm as free of weight decay (`regularizer = ("L2",
    0.0)`).
    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        groups: int = 1,
        activation: Activation | None = nn.ReLU,
        start: Start = "default",
        decay_norm: bool = True,
        pool: bool = False,
    ) -> None:
        super().__init__()
        if pool:
            self.avg_pool = nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False)
        self.conv = start_conv(
            nn.Conv2d(
                channels,
                out_channels,
                kernel_size,
                stride,
                padding=(kernel_size - 1) // 2,
                groups=groups,
                bias=False,
            ),
            start,
        )
        self.bn = nn.BatchNorm2d(out_channels)
        if not decay_norm:
            self.bn.weight.regularizer = ("L2", 0.0)  # type: ignore[attr-defined]
            self.bn.bias.regularizer = ("L2", 0.0)  # type: ignore[attr-defined]
        if activation is not None:
            self.act = activation()


class Suffixed(nn.Sequential):
    """A layer and an activation behind it, in the place of the layer alone.

    `plain_layer` names the part that takes the weights of a file in which the layer stands alone.
    """

    plain_layer = "origin_layer"

    def __init__(self, layer: nn.Module, name: str, activation: nn.Module) -> None:
        super().__init__()
        self.origin_layer = layer
        self.add_module(name, activation)


class HardSigmoid(nn.Module):
    """clip(slope * x + 0.5, 0, 1). PP-LCNet uses slope 1/6, MobileNetV3 of the reference 0.2."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.slope + 0.5).clamp(0.0, 1.0)


class SqueezeExcite(nn.Module):
    """Channels weighted by a gate computed from their means: x * gate(conv2(relu(conv1(mean(x)))))."""

    def __init__(self, channels: int, gate: nn.Module, reduction: int = 4) -> None:
        super().__init__()
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.conv1 = start_conv(nn.Conv2d(channels, channels // reduction, 1))
        self.relu = nn.ReLU()
        self.conv2 = start_conv(nn.Conv2d(channels // reduction, channels, 1))
        self.gate = gate

    def forward(self, x: Tensor) -> Tensor:
        weight: Tensor = self.gate(self.conv2(self.relu(self.conv1(self.avg_pool(x)))))
        return x * weight


class DownscaleInInferDropout(nn.Module):
    """Dropout that masks without rescaling in training and multiplies by 1 - p afterwards.

    Paddle's mode `downscale_in_infer`. It lies before the features of PP-LCNet, so those of a trained model
    carry the factor.
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        if not 0.0 <= p <= 1.0:
            raise UserError(f"dropout_prob must lie between 0 and 1, got {p}")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if self.p == 0.0:
            return x
        keep = 1.0 - self.p
        return F.dropout(x, self.p) * keep if self.training else x * keep

    def extra_repr(self) -> str:
        return f"p={self.p}"


def multiply_learning_rates(parts: Sequence[nn.Module], factors: Sequence[float], name: str) -> None:
    """Set `lr_multiplier` for the parameters of each part. Raises UserError on a wrong count."""
    if len(factors) != len(parts):
        raise UserError(f"{name} needs {len(parts)} numbers, one for each part, got {len(factors)}")
    for part, factor in zip(parts, factors, strict=True):
        if factor != 1.0:
            for parameter in part.parameters():
                parameter.lr_multiplier = factor  # type: ignore[attr-defined]


def underscored(key: str) -> str:
    """`conv1.bn.weight` → `_conv1._bn.weight`: older networks of the reference mark their layers so."""
    *layers, last = key.split(".")
    return ".".join([*(f"_{layer}" for layer in layers), last])


def check_length(values: Sequence[object], length: int, name: str) -> None:
    """Raises UserError when a list argument does not have one entry for each part."""
    if len(values) != length:
        raise UserError(f"{name} needs {length} entries, got {len(values)}")
