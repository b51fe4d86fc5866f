"""AlexNet. Source: One weird trick for parallelizing convolutional neural networks,
https://arxiv.org/abs/1404.5997, after https://papers.nips.cc/paper/4824.
"""

from __future__ import annotations

import math

from torch import nn

from lookalike.model.layers import DownscaleInInferDropout, underscored
from lookalike.model.registries import backbones


class ConvPool(nn.Sequential):
    """Convolution → ReLU → 3x3 max pool of stride 2."""

    def __init__(self, channels: int, out_channels: int, kernel_size: int, stride: int, padding: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out_channels, kernel_size, stride, padding)
        self.relu = nn.ReLU()
        self.pool = nn.MaxPool2d(3, 2)


@backbones.register("AlexNet", swallows={"output_dim": "class_num is the width of the output"})
class AlexNet(nn.Sequential):
    """(N, 3, 224, 224) → (N, class_num); for hashing, class_num is the length of the code.

    Other sizes work as far as they leave a 6x6 map (199 … 230 pixels a side). Dropout masks without rescaling
    in training and halves afterwards. The reference cannot cut it at a stop layer; here every layer can be
    named.
    """

    reference_keys = staticmethod(underscored)

    def __init__(self, class_num: int = 1000) -> None:
        super().__init__()
        self.conv1 = ConvPool(3, 64, 11, 4, 2)
        self.conv2 = ConvPool(64, 192, 5, 1, 2)
        self.conv3 = nn.Conv2d(192, 384, 3, padding=1)
        self.relu3 = nn.ReLU()
        self.conv4 = nn.Conv2d(384, 256, 3, padding=1)
        self.relu4 = nn.ReLU()
        self.conv5 = ConvPool(256, 256, 3, 1, 1)
        self.flatten = nn.Flatten(1)
        self.drop1 = DownscaleInInferDropout(0.5)
        self.fc6 = nn.Linear(256 * 6 * 6, 4096)
        self.relu6 = nn.ReLU()
        self.drop2 = DownscaleInInferDropout(0.5)
        self.fc7 = nn.Linear(4096, 4096)
        self.relu7 = nn.ReLU()
        self.fc8 = nn.Linear(4096, class_num)
        for part in self.modules():
            if isinstance(part, (nn.Conv2d, nn.Linear)):
                # all linear layers start within the bound of the first
                fan = part.weight[0].numel() if isinstance(part, nn.Conv2d) else 256 * 6 * 6
                for parameter in part.parameters():
                    nn.init.uniform_(parameter, -1 / math.sqrt(fan), 1 / math.sqrt(fan))
