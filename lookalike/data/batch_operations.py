"""Operations on a whole batch, which mix images and, as much, their labels.

A label becomes a distribution over the classes, so the losses must take such labels (CELoss does) and the
head must not need the one class of an image, as those with a margin do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lookalike.core.component import Component
from lookalike.core.errors import UserError
from lookalike.core.numbers import Number
from lookalike.core.registry import Registry
from lookalike.data.mixing import low_frequency_mask, mixed, random_box
from lookalike.data.sampling.seeding import generator

_MIXING = 0xB5297A4D3F84D5B5  # keeps the stream apart from those of images and samplers

Mixed = tuple[Tensor, Tensor]


class BatchOperation(Protocol):
    """Images (N, C, H, W) and labels (N, classes) whose rows are distributions, and the same mixed."""

    def __call__(self, images: Tensor, labels: Tensor, rng: np.random.Generator) -> Mixed: ...


batch_operations: Registry[BatchOperation] = Registry("batch operation")
"""Names in `batch_transform_ops` of a dataset."""

_ENGINE = {"class_num": "the head says how many classes there are"}


def _above_zero(name: str, value: float) -> None:
    if value <= 0:
        raise UserError(f"{name} must be above 0, got {value}")


@batch_operations.register("MixupOperator", "Mixup", swallows=_ENGINE)
class Mixup:
    """x = l x_i + (1 - l) x_j, labels alike; l ~ Beta(alpha, alpha) and a random partner j, once a batch.

    Source: Zhang et al., 2018, https://arxiv.org/abs/1710.09412.
    """

    def __init__(self, alpha: Number = 1.0) -> None:
        _above_zero("alpha", alpha)
        self.alpha = alpha

    def __call__(self, images: Tensor, labels: Tensor, rng: np.random.Generator) -> Mixed:
        partner = torch.from_numpy(rng.permutation(len(images)))
        share = float(rng.beta(self.alpha, self.alpha))
        return mixed(images, images[partner], share), mixed(labels, labels[partner], share)


@batch_operations.register("CutmixOperator", "CutMix", "Cutmix", swallows=_ENGINE)
class CutMix:
    """A box of each image shows its partner's pixels; the labels are mixed by the area.

    The box has the area 1 - l, l ~ Beta(alpha, alpha), around a point anywhere, and is cut at the border.
    Source: Yun et al., 2019, https://arxiv.org/abs/1905.04899.
    """

    def __init__(self, alpha: Number = 0.2) -> None:
        _above_zero("alpha", alpha)
        self.alpha = alpha

    def __call__(self, images: Tensor, labels: Tensor, rng: np.random.Generator) -> Mixed:
        partner = torch.from_numpy(rng.permutation(len(images)))
        height, width = images.shape[-2:]
        rows, columns, share = random_box(height, width, float(rng.beta(self.alpha, self.alpha)), rng)
        changed = images.clone()
        changed[:, :, rows, columns] = images[partner][:, :, rows, columns]
        return changed, mixed(labels, labels[partner], share)


@batch_operations.register("FmixOperator", "FMix", "Fmix", swallows=_ENGINE)
class FMix:
    """Blobs of each image show its partner's pixels, where a smooth random field is low.

    The field has random phases and amplitudes that fall as frequency^-`decay_power`; a share l ~ Beta(alpha,
    alpha) of the pixels, those with the highest values, stays. With `max_soft` the border is a ramp over that
    share of the pixels on both sides; `reformulate` draws l from Beta(alpha + 1, alpha).
    Source: Harris et al., 2020, https://arxiv.org/abs/2002.12047.
    """

    def __init__(
        self,
        alpha: Number = 1.0,
        decay_power: Number = 3.0,
        max_soft: Number = 0.0,
        reformulate: bool = False,
    ) -> None:
        _above_zero("alpha", alpha)
        if not 0 <= max_soft <= 0.5:
            raise UserError(f"max_soft must lie in 0..0.5, got {max_soft}")
        self.alpha, self.decay_power = alpha, decay_power
        self.max_soft, self.reformulate = max_soft, reformulate

    def __call__(self, images: Tensor, labels: Tensor, rng: np.random.Generator) -> Mixed:
        partner = torch.from_numpy(rng.permutation(len(images)))
        share = float(rng.beta(self.alpha + self.reformulate, self.alpha))
        height, width = images.shape[-2:]
        field = low_frequency_mask(height, width, share, self.decay_power, self.max_soft, rng)
        mask = torch.from_numpy(field).to(images)
        return mixed(images, images[partner], mask), mixed(labels, labels[partner], share)


@batch_operations.register("OpSampler", swallows=_ENGINE)
class OpSampler:
    """One of several operations a batch, each with its `prob`; nothing with what is left of 1.

    `OpSampler: {MixupOperator: {alpha: 0.8, prob: 0.5}, CutmixOperator: {alpha: 1.0, prob: 0.5}}`
    """

    def __init__(self, **operations: Any) -> None:
        if not operations:
            raise UserError("OpSampler needs an operation with its prob, such as MixupOperator: {prob: 0.5}")
        self.operations: list[BatchOperation | None] = []
        self.probabilities = []
        for name, arguments in operations.items():
            component = Component.of({name: arguments})
            if "prob" not in component.arguments:
                raise UserError(f"OpSampler: {name} needs prob, how often it is taken")
            self.operations.append(batch_operations.build(component, also=("prob",)))
            self.probabilities.append(float(component.arguments["prob"]))
        left = 1 - sum(self.probabilities)
        if left < -1e-9 or min(self.probabilities) < 0:
            raise UserError(f"OpSampler: the probs must be at most 1 together, got {self.probabilities}")
        self.operations.append(None)
        self.probabilities.append(max(left, 0.0))

    def __call__(self, images: Tensor, labels: Tensor, rng: np.random.Generator) -> Mixed:
        probabilities = np.array(self.probabilities)
        operation = self.operations[rng.choice(len(probabilities), p=probabilities / probabilities.sum())]
        return (images, labels) if operation is None else operation(images, labels, rng)


class BatchMixing:
    """The operations of `batch_transform_ops`, one after the other, for batches of class numbers.

    What is drawn follows from the seed, the epoch, the process and the number of the batch.
    """

    def __init__(
        self, operations: Sequence[BatchOperation], class_num: int, seed: int = 0, rank: int = 0
    ) -> None:
        self.operations, self.class_num, self.seed, self.rank = list(operations), class_num, seed, rank

    def __call__(self, images: Tensor, labels: Tensor, epoch: int, number: int) -> Mixed:
        """Mixed images and labels (N, class_num) of a batch with labels (N,)."""
        rng = generator(self.seed, epoch, self.rank, number, _MIXING)
        soft = functional.one_hot(labels, self.class_num).to(images.dtype)
        for operation in self.operations:
            images, soft = operation(images, soft, rng)
        return images, soft


def build_mixing(
    section: Sequence[Any], class_num: int, path: str, seed: int = 0, rank: int = 0
) -> BatchMixing:
    """Build a `batch_transform_ops` list such as `[{MixupOperator: {alpha: 0.2}}]`.

    Raises UserError for an unknown operation or argument.
    """
    operations = [batch_operations.build(entry, f"{path}[{index}]") for index, entry in enumerate(section)]
    return BatchMixing(operations, class_num, seed, rank)
