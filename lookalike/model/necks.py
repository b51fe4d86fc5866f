"""Necks: from what the backbone gives to the embedding.

Each has `in_features` and `out_features`, so that a model whose parts do not fit is refused when it is built.
"""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lookalike.core.registry import Swallowed
from lookalike.model.attributes import AttributeValue, constant, parse_attribute, xavier_normal
from lookalike.model.heads import unit
from lookalike.model.layers import start_conv, start_linear
from lookalike.model.meta_norm import ModalNorm
from lookalike.model.registries import heads, necks


@heads.register("FC")
@necks.register("FC", "Linear")
class FC(nn.Module):
    """y = W x + b. (N, embedding_size) → (N, class_num).

    W starts XavierNormal, b at 0. As a head it ignores the labels.
    """

    def __init__(
        self,
        embedding_size: int,
        class_num: int,
        weight_attr: AttributeValue = None,
        bias_attr: AttributeValue = None,
    ) -> None:
        super().__init__()
        weight = parse_attribute(weight_attr, "FC.weight_attr")
        bias = parse_attribute(bias_attr, "FC.bias_attr")
        self.in_features, self.out_features, self.class_num = embedding_size, class_num, class_num
        self.fc = nn.Linear(embedding_size, class_num, bias=bias is not None)
        if weight is not None:
            weight.apply(self.fc.weight, xavier_normal())
        if bias is not None:
            bias.apply(self.fc.bias, constant(0.0))

    def forward(self, features: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.fc(features.flatten(1))  # type: ignore[no-any-return]


@necks.register("BNNeck")
class BNNeck(nn.Module):
    """Batch norm of the flattened features. (N, C, …) → (N, num_features).

    Source: Bag of Tricks and A Strong Baseline for Deep Person Re-identification,
    https://arxiv.org/abs/1903.07071. As in the reference the bias is trained unless its `bias_attr` gives it
    a learning rate of (nearly) 0. `use_global_stats` normalises with the running statistics in training too.
    """

    def __init__(
        self,
        num_features: int,
        weight_attr: AttributeValue = None,
        bias_attr: AttributeValue = None,
        use_global_stats: bool = False,
    ) -> None:
        super().__init__()
        weight = parse_attribute(weight_attr, f"{type(self).__name__}.weight_attr")
        bias = parse_attribute(bias_attr, f"{type(self).__name__}.bias_attr")
        self.in_features = self.out_features = num_features
        self.use_global_stats = use_global_stats
        self.feat_bn = nn.BatchNorm1d(num_features)
        for attribute, parameter, default in (
            (weight, self.feat_bn.weight, constant(1.0)),
            (bias, self.feat_bn.bias, constant(0.0)),
        ):
            if attribute is None:
                parameter.requires_grad_(False)
            else:
                attribute.apply(parameter, default)

    def forward(self, features: Tensor) -> Tensor:
        features = features.flatten(1)
        norm = self.feat_bn
        if self.use_global_stats:
            return F.batch_norm(
                features, norm.running_mean, norm.running_var, norm.weight, norm.bias, False, eps=norm.eps
            )
        return norm(features)  # type: ignore[no-any-return]


@necks.register(
    "MetaBNNeck",
    swallows={
        # nothing is lost: the recipe of the reference has it, and it is ignored there too
        "use_global_stats": Swallowed("the mode says which statistics are used", (True, False, None))
    },
)
class MetaBNNeck(BNNeck, ModalNorm):
    """BNNeck whose use of statistics a meta-learning loop sets: `meta_norm.set_mode`.

    (N, C, …) → (N, num_features). Source: MetaBIN, https://arxiv.org/abs/2011.14670.
    """

    def __init__(
        self,
        num_features: int,
        weight_attr: AttributeValue = None,
        bias_attr: AttributeValue = None,
    ) -> None:
        super().__init__(num_features, weight_attr, bias_attr)

    @property
    def steered(self) -> _BatchNorm:
        return self.feat_bn

    def forward(self, features: Tensor) -> Tensor:
        return self.batch_normalised(features.flatten(1))


@necks.register("VehicleNeck")
class VehicleNeck(nn.Module):
    """Convolution (1x1 unless said) → flatten. (N, in_channels, H, W) → (N, out_channels * H' * W').

    The reference hands `weight_attr` to the bias as well and so ignores `bias_attr`; `reference_behaviour`
    does the same.
    """

    takes_maps = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 1,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
        padding_mode: Literal["zeros", "reflect", "replicate", "circular"] = "zeros",
        weight_attr: AttributeValue = None,
        bias_attr: AttributeValue = None,
        reference_behaviour: bool = False,
    ) -> None:
        super().__init__()
        if reference_behaviour:
            bias_attr = weight_attr
        weight = parse_attribute(weight_attr, "VehicleNeck.weight_attr")
        bias = parse_attribute(bias_attr, "VehicleNeck.bias_attr")
        self.in_features = in_channels
        # with a larger kernel the map may keep its extent, and the width of the output depends on the picture
        self.out_features = out_channels if kernel_size == 1 and stride == 1 and padding == 0 else None
        self.conv = start_conv(
            nn.Conv2d(
                in_channels,
                out_channels,
                kernel_size,
                stride,
                padding,
                dilation,
                groups,
                bias is not None,
                padding_mode,
            )
        )
        if weight is not None:
            weight.apply(self.conv.weight)
        if bias is not None and self.conv.bias is not None:
            bias.apply(self.conv.bias)

    def forward(self, features: Tensor) -> Tensor:
        if features.ndim == 2:
            features = features[:, :, None, None]
        return self.conv(features).flatten(1)  # type: ignore[no-any-return]


@necks.register("FRFNNeck")
class FRFNNeck(nn.Module):
    """normalise(W2 leaky_relu(W1 x + b1) + b2), slope 0.1. (N, num_features) → (N, low_dim), of length 1.

    The projection of CCSSL, https://arxiv.org/abs/2203.02261, for losses that contrast features. A zero
    vector stays zero; the reference gives NaN.
    """

    def __init__(self, num_features: int, low_dim: int) -> None:
        super().__init__()
        self.in_features, self.out_features = num_features, low_dim
        self.fc1 = start_linear(nn.Linear(num_features, num_features))
        self.fc2 = start_linear(nn.Linear(num_features, low_dim))

    def forward(self, features: Tensor) -> Tensor:
        return unit(self.fc2(F.leaky_relu(self.fc1(features.flatten(1)), 0.1)))


@necks.register("Tanh")
class Tanh(nn.Module):
    """tanh(x), for codes that are binarised afterwards."""

    in_features = None
    out_features = None

    def forward(self, features: Tensor) -> Tensor:
        return features.tanh()


class NeckChain(nn.Sequential):
    """Several necks, each taking what the one before gives: what a list under `Arch.Neck` makes."""

    @property
    def takes_layers(self) -> bool:
        """Whether the first neck reads several layers of the backbone."""
        return bool(getattr(self[0], "takes_layers", False))
