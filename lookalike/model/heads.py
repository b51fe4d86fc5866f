"""Heads: class scores from the cosine between an embedding and the weight of each class, with a margin.

With labels and in training they give scaled scores in which the own class is made harder; otherwise the plain
cosine. The weight is stored (classes, embedding), one row a class.
"""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lookalike.core.errors import UserError
from lookalike.core.numbers import Number, Positive, Sizes
from lookalike.model.attributes import AttributeValue, parse_attribute, xavier_normal
from lookalike.model.registries import heads


def unit(vectors: Tensor) -> Tensor:
    """Each row divided by its length, in float32.

    A zero row stays zero and gets no gradient (the reference gives NaN).
    """
    vectors = vectors.float()
    squared = vectors.square().sum(dim=1, keepdim=True)
    alive = squared > 1e-24
    return vectors * torch.where(alive, squared, 1.0).rsqrt() * alive


class MarginHead(nn.Module, ABC):
    """Cosine classifier. (N, embedding_size) → (N, class_num).

    `weight_attr` (not in the reference) sets how the weight starts and how it learns; XavierNormal by
    default. `sizes` (not in the reference either) asks for the scores of the first numbers of a feature too,
    see `of_first`: a RecModel gives those of 64 numbers as `logits_64`, which MatryoshkaLoss reads.

    Raises UserError for sizes above `embedding_size`.
    """

    transposed_in_reference = ("weight",)  # stored there as (embedding, classes)
    scale: float
    scaled_at_eval = False
    """Whether the cosine is scaled at evaluation too: of a frozen teacher, which others learn from."""

    def __init__(
        self,
        embedding_size: int,
        class_num: int,
        weight_attr: AttributeValue = None,
        sizes: Sizes | None = None,
    ) -> None:
        super().__init__()
        self.in_features, self.out_features, self.class_num = embedding_size, class_num, class_num
        self.sizes = list(sizes or [])
        if max(self.sizes, default=0) > embedding_size:
            raise UserError(
                f"{type(self).__name__}.sizes: {max(self.sizes)} is more than embedding_size {embedding_size}"
            )
        self.weight = nn.Parameter(torch.empty(class_num, embedding_size))
        attribute = parse_attribute(weight_attr, f"{type(self).__name__}.weight_attr")
        if attribute is None:
            raise UserError(f"{type(self).__name__}.weight_attr: the head cannot do without its weight")
        attribute.apply(self.weight, xavier_normal())

    def forward(self, features: Tensor, labels: Tensor | None = None) -> Tensor:
        return self._scores(features.flatten(1), self.weight, labels)

    def of_first(self, size: int, features: Tensor, labels: Tensor | None = None) -> Tensor:
        """Scores (N, class_num) of the first `size` numbers of features and of the rows of the weight.

        Both are of length 1 again. Matryoshka representations with one weight for all sizes (MRL-E):
        https://arxiv.org/abs/2205.13147.
        """
        return self._scores(features.flatten(1)[:, :size], self.weight[:, :size], labels)

    def _scores(self, features: Tensor, weight: Tensor, labels: Tensor | None) -> Tensor:
        cosine = F.linear(unit(features), unit(weight)).float()
        if labels is None or not self.training:
            return cosine * self.scale if self.scaled_at_eval else cosine
        return self.with_margin(cosine, labels.reshape(-1, 1))

    @abstractmethod
    def with_margin(self, cosine: Tensor, labels: Tensor) -> Tensor:
        """Scores (N, class_num) for training, from the cosines and labels (N, 1)."""


@heads.register("ArcMargin")
class ArcMargin(MarginHead):
    """s * cos(θ + m) for the own class, s * cos θ for the others.

    Where θ + m passes π (cos θ <= -cos m) the own class gets s * (cos θ - m sin m); with `easy_margin` the
    margin is added only where cos θ > 0. Source: ArcFace, https://arxiv.org/abs/1801.07698.
    """

    def __init__(
        self,
        embedding_size: int,
        class_num: int,
        margin: Number = 0.5,
        scale: Positive = 80.0,
        easy_margin: bool = False,
        weight_attr: AttributeValue = None,
        sizes: Sizes | None = None,
    ) -> None:
        super().__init__(embedding_size, class_num, weight_attr, sizes)
        self.margin, self.scale, self.easy_margin = margin, scale, easy_margin

    def with_margin(self, cosine: Tensor, labels: Tensor) -> Tensor:
        own = cosine.gather(1, labels)
        # in half precision a cosine may exceed 1 by more than the 1e-6 that keeps the root away from 0
        sine = (1.0 - own.square() + 1e-6).clamp_min(1e-7).sqrt()
        hard = own * math.cos(self.margin) - sine * math.sin(self.margin)
        if self.easy_margin:
            hard = torch.where(own > 0, hard, own)
        else:
            fallback = own - self.margin * math.sin(self.margin)
            hard = torch.where(own > -math.cos(self.margin), hard, fallback)
        return cosine.scatter(1, labels, hard) * self.scale


@heads.register("CosMargin")
class CosMargin(MarginHead):
    """s * (cos θ - m) for the own class, s * cos θ for the others.

    The reference fails without labels; here that gives the cosine, as in the other heads.
    Source: CosFace, https://arxiv.org/abs/1801.09414.
    """

    def __init__(
        self,
        embedding_size: int,
        class_num: int,
        margin: Number = 0.35,
        scale: Positive = 64.0,
        weight_attr: AttributeValue = None,
        sizes: Sizes | None = None,
    ) -> None:
        super().__init__(embedding_size, class_num, weight_attr, sizes)
        self.margin, self.scale = margin, scale

    def with_margin(self, cosine: Tensor, labels: Tensor) -> Tensor:
        return cosine.scatter(1, labels, cosine.gather(1, labels) - self.margin) * self.scale


@heads.register("CircleMargin")
class CircleMargin(MarginHead):
    """s * a (cos θ - (1 - m)) for the own class, s * b (cos θ - m) for the others.

    a = max(1 + m - cos θ, 0), b = max(cos θ + m, 0).
    a and b get no gradient. Source: Circle Loss, https://arxiv.org/abs/2002.10857.
    """

    def __init__(
        self,
        embedding_size: int,
        class_num: int,
        margin: Number,
        scale: Positive,
        weight_attr: AttributeValue = None,
        sizes: Sizes | None = None,
    ) -> None:
        super().__init__(embedding_size, class_num, weight_attr, sizes)
        self.margin, self.scale = margin, scale

    def with_margin(self, cosine: Tensor, labels: Tensor) -> Tensor:
        own = cosine.gather(1, labels)
        own = (1.0 + self.margin - own).relu().detach() * (own - (1.0 - self.margin))
        others = (cosine + self.margin).relu().detach() * (cosine - self.margin)
        return others.scatter(1, labels, own) * self.scale


@heads.register("AdaMargin")
class AdaMargin(nn.Module):
    """An angular and an additive margin that share by the length of an embedding (a measure of its quality).

    s * (cos(θ - m z) - (m + m z)) for the own class, its angle kept in 0.001 … π - 0.001; s * cos θ for the
    others. z = clip(h * (|x| - mean) / (std + 1e-3), -1, 1) gets no gradient; |x| is clipped to 0.001 … 100.
    Mean and standard deviation are running ones, in which a training batch has the share `t_alpha`.
    Source: AdaFace, https://arxiv.org/abs/2204.00964.

    At eval and without labels it gives the plain cosine and its buffers stay; so they do for a batch of one
    sample, which has no deviation. The reference has no form for eval: given labels it adds the margin and
    moves its buffers there too, and without labels it fails. `reference_behaviour` does the former.
    """

    transposed_in_reference = ("kernel",)
    # files of the reference hold `t` beside them; nothing reads it, there or here
    t: Tensor
    batch_mean: Tensor
    batch_std: Tensor
    scaled_at_eval = False  # as of a MarginHead

    def __init__(
        self,
        embedding_size: int = 512,
        class_num: int = 70722,
        m: Number = 0.4,
        h: Number = 0.333,
        s: Positive = 64.0,
        t_alpha: Number = 1.0,
        reference_behaviour: bool = False,
    ) -> None:
        super().__init__()
        self.in_features, self.out_features, self.class_num = embedding_size, class_num, class_num
        self.m, self.h, self.s, self.t_alpha = m, h, s, t_alpha
        self.reference_behaviour = reference_behaviour
        self.kernel = nn.Parameter(unit(torch.empty(class_num, embedding_size).uniform_(-1.0, 1.0)))
        self.register_buffer("t", torch.zeros(1))
        self.register_buffer("batch_mean", torch.full((1,), 20.0))
        self.register_buffer("batch_std", torch.full((1,), 100.0))

    def forward(self, features: Tensor, labels: Tensor | None = None) -> Tensor:
        features = features.flatten(1).float()
        cosine = F.linear(unit(features), unit(self.kernel)).float()
        if labels is None or not (self.training or self.reference_behaviour):
            return cosine * self.s if self.scaled_at_eval else cosine
        labels = labels.reshape(-1, 1)
        cosine = cosine.clamp(-1.0 + 1e-3, 1.0 - 1e-3)
        share = self.m * self._quality(features.detach())
        own = (cosine.gather(1, labels).acos() - share).clamp(1e-3, math.pi - 1e-3).cos() - (self.m + share)
        return cosine.scatter(1, labels, own) * self.s

    @torch.no_grad()
    def _quality(self, features: Tensor) -> Tensor:
        """z (N, 1), from running figures that the batch enters first."""
        lengths = features.norm(dim=1, keepdim=True).clamp(0.001, 100.0)
        if len(lengths) > 1:
            self.batch_mean.lerp_(lengths.mean(), self.t_alpha)
            self.batch_std.lerp_(lengths.std(), self.t_alpha)
        quality: Tensor = self.h * (lengths - self.batch_mean) / (self.batch_std + 1e-3)
        return quality.clamp(-1.0, 1.0)


@heads.register("IdentityHead")
class IdentityHead(nn.Module):
    """Gives the features as they are. A RecModel with it has no `logits`, as one without a head."""

    def forward(self, features: Tensor, labels: Tensor | None = None) -> Tensor:
        return features


def takes_labels(head: nn.Module) -> bool:
    """Whether a head is called with labels: it has a second argument, which a neck as a head has not."""
    return len(inspect.signature(head.forward).parameters) > 1


def has_margin(head: nn.Module) -> bool:
    """Whether the scores of a head in training depend on the label of each sample."""
    return isinstance(head, (MarginHead, AdaMargin))
