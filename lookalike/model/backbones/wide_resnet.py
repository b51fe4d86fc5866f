"""Wide ResNet for pictures of 32x32, as semi-supervised methods (FixMatch, CCSSL) use it.

Source: Wide Residual Networks, https://arxiv.org/abs/1605.07146; CCSSL, https://arxiv.org/abs/2203.02261.
Unlike the paper's, its first blocks of the second and third stage leave out the batch norm before the first
convolution, its activations are leaky, and the running statistics move by 0.001 a step.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from lookalike.core.errors import UserError
from lookalike.core.numbers import Number
from lookalike.model.layers import start_conv, start_linear
from lookalike.model.registries import backbones

_norm = partial(nn.BatchNorm2d, momentum=0.001)
_activation = partial(nn.LeakyReLU, 0.1)


def _conv(channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> nn.Conv2d:
    padding = kernel_size // 2
    return start_conv(nn.Conv2d(channels, out_channels, kernel_size, stride, padding, bias=False))


class PreActivatedBlock(nn.Module):
    """shortcut(x) + conv2(dropout(act(norm(conv1(act(norm(x))))))).

    Where the channels change, the shortcut is a 1x1 convolution, of the activated input if
    `activates_shortcut`; otherwise neither branch sees the first norm, which then lies idle.
    """

    def __init__(
        self, channels: int, out_channels: int, stride: int, dropout: float, activates_shortcut: bool
    ) -> None:
        super().__init__()
        self.bn1 = _norm(channels)
        self.relu1 = _activation()
        self.conv1 = _conv(channels, out_channels, 3, stride)
        self.bn2 = _norm(out_channels)
        self.relu2 = _activation()
        self.dropout = nn.Dropout(dropout)
        self.conv2 = _conv(out_channels, out_channels, 3)
        self.keeps_width = channels == out_channels
        self.activates_shortcut = activates_shortcut and not self.keeps_width
        if not self.keeps_width:
            self.convShortcut = _conv(channels, out_channels, 1, stride)
            if not activates_shortcut:
                self.bn1.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        if self.keeps_width:
            inner, short = self.relu1(self.bn1(x)), x
        else:
            inner = self.relu1(self.bn1(x)) if self.activates_shortcut else x
            short = self.convShortcut(inner)
        inner = self.conv2(self.dropout(self.relu2(self.bn2(self.conv1(inner)))))
        return short + inner  # type: ignore[no-any-return]


class Stage(nn.Sequential):
    """Blocks of one width; the first has the stride."""

    def __init__(self, channels: int, out_channels: int, count: int, stride: int, **more: Any) -> None:
        super().__init__()
        blocks = [PreActivatedBlock(channels, out_channels, stride, **more)]
        blocks += [PreActivatedBlock(out_channels, out_channels, 1, **more) for _ in range(count - 1)]
        self.layer = nn.Sequential(*blocks)


class UnitLength(nn.Module):
    """x / |x|, each row."""

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(x)


@backbones.register("WideResNet")
class WideResNet(nn.Sequential):
    """(N, 3, 32, 32) → (N, num_classes).

    `depth` is 6 n + 4 for n blocks a stage, the last of which has 64 * widen_factor channels. Cut at `bn1` it
    gives (N, 64 * widen_factor): the pooled output of that norm without the activation, as in the reference,
    whose pooling is no layer and so remains.

    `proj` with `proj_after` puts a projection to `low_dim` of length 1 before the classifier. The reference
    gives the projection as a second output as well, which a RecModel has no use for, there or here; `proj`
    alone has no other effect, and is refused: the neck FRFNNeck is that projection.
    """

    stop_layer_leaves_out: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "bn1": ("relu", "fc1", "relu_mlp", "fc2", "l2norm", "fc")
    }

    def __init__(
        self,
        depth: int,
        widen_factor: int,
        dropout: Number,
        num_classes: int,
        proj: bool = False,
        proj_after: bool = False,
        low_dim: int = 64,
    ) -> None:
        super().__init__()
        count, left = divmod(depth - 4, 6)
        if left or count < 1 or widen_factor < 1:
            raise UserError(
                f"WideResNet needs a depth of 6 n + 4 (10, 16, 22, 28, …) and a widen_factor of at least 1, "
                f"got {depth} and {widen_factor}"
            )
        if proj != proj_after:
            raise UserError(
                "WideResNet takes 'proj' and 'proj_after' together only: a projection beside the classifier "
                "is the neck FRFNNeck, with head_feature_from: backbone"
            )
        widths = [16, 16 * widen_factor, 32 * widen_factor, 64 * widen_factor]
        self.conv1 = _conv(3, widths[0], 3)
        for number in (1, 2, 3):
            stage = Stage(
                widths[number - 1],
                widths[number],
                count,
                stride=1 if number == 1 else 2,
                dropout=dropout,
                activates_shortcut=number == 1,
            )
            self.add_module(f"block{number}", stage)
        self.bn1 = _norm(widths[3])
        self.relu = _activation()
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten(1)
        width = widths[3]
        if proj:
            self.fc1 = start_linear(nn.Linear(width, width))
            self.relu_mlp = _activation()
            self.fc2 = start_linear(nn.Linear(width, low_dim))
            self.l2norm = UnitLength()
            width = low_dim
        self.fc = start_linear(nn.Linear(width, num_classes))
        self.image_shape = (3, 32, 32)
