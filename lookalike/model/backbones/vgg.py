"""VGG, and VGG19 whose second linear layer ends in a sigmoid, for hashing.

Source: Very Deep Convolutional Networks, https://arxiv.org/abs/1409.1556. As in the reference its
convolutions have no bias.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import nn

from lookalike.core.errors import UserError
from lookalike.model.layers import DownscaleInInferDropout, Suffixed, start_conv, start_linear
from lookalike.model.registries import backbones

_CONVOLUTIONS = {11: [1, 1, 2, 2, 2], 13: [2, 2, 2, 2, 2], 16: [2, 2, 3, 3, 3], 19: [2, 2, 4, 4, 4]}
_WIDTHS = [64, 128, 256, 512, 512]


class ConvBlock(nn.Sequential):
    """3x3 convolutions, each with a ReLU → 2x2 max pool."""

    def __init__(self, channels: int, out_channels: int, count: int) -> None:
        super().__init__()
        for number in range(1, count + 1):
            conv = nn.Conv2d(channels, out_channels, 3, padding=1, bias=False)
            self.add_module(f"conv{number}", start_conv(conv))
            self.add_module(f"relu{number}", nn.ReLU())
            channels = out_channels
        self.max_pool = nn.MaxPool2d(2)


class VGG(nn.Sequential):
    """(N, 3, 224, 224) → (N, class_num). Cut at `flatten` it gives 25088 features.

    Pictures of other sizes work only where a 7x7 map is left of them (224 … 255 pixels a side). The first
    `stop_grad_layers` blocks do not learn. Cut at `fc1` or `fc2` all ReLUs and dropouts behind it stay, as in
    the reference, where they are layers that the linear layers share.
    """

    stop_layer_leaves_out: ClassVar[Mapping[str, tuple[str, ...]]] = {"fc1": ("fc2", "fc3"), "fc2": ("fc3",)}

    def __init__(self, depth: int, class_num: int, stop_grad_layers: int) -> None:
        super().__init__()
        if not 0 <= stop_grad_layers <= len(_WIDTHS):
            raise UserError(f"stop_grad_layers must lie between 0 and {len(_WIDTHS)}, got {stop_grad_layers}")
        channels = 3
        for number, (width, count) in enumerate(zip(_WIDTHS, _CONVOLUTIONS[depth], strict=True), start=1):
            block = ConvBlock(channels, width, count)
            self.add_module(f"conv_block_{number}", block.requires_grad_(number > stop_grad_layers))
            channels = width
        self.flatten = nn.Flatten(1)
        self.fc1 = start_linear(nn.Linear(7 * 7 * channels, 4096))
        self.relu1 = nn.ReLU()
        self.drop1 = DownscaleInInferDropout(0.5)
        self.fc2: nn.Module = start_linear(nn.Linear(4096, 4096))
        self.relu2 = nn.ReLU()
        self.drop2 = DownscaleInInferDropout(0.5)
        self.fc3 = start_linear(nn.Linear(4096, class_num))


_SWALLOWED = {"output_dim": "the last layer decides the width"}


def _register(depth: int) -> None:
    @backbones.register(f"VGG{depth}", swallows=_SWALLOWED)
    def build(class_num: int = 1000, stop_grad_layers: int = 0) -> nn.Module:
        return VGG(depth, class_num, stop_grad_layers)


for _depth in _CONVOLUTIONS:
    _register(_depth)


@backbones.register("VGG19Sigmoid", swallows=_SWALLOWED)
def vgg19_sigmoid(class_num: int = 1000, stop_grad_layers: int = 0) -> nn.Module:
    """VGG19 with a sigmoid behind the second linear layer; class_num is the length of the code.

    The last layer, which gives the code, is not squashed, there as here.
    """
    net = VGG(19, class_num, stop_grad_layers)
    net.fc2 = Suffixed(net.fc2, "sigmoid", nn.Sigmoid())
    return net
