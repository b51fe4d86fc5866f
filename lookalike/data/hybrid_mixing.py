"""Mixup and CutMix in turns, for whole batches, pairs or single images."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from lookalike.core.errors import UserError
from lookalike.core.numbers import Number
from lookalike.data.batch_operations import Mixed, batch_operations
from lookalike.data.mixing import box_of_share, mixed, random_box


@batch_operations.register("MixupCutmixHybrid")
class MixupCutmixHybrid:
    """Each image mixed with the one at the mirrored place of the batch, by Mixup or by CutMix.

    An operation takes place with probability `prob`; it is CutMix with `switch_prob` where both alphas are
    above 0. It is drawn once a batch, once a pair (`pair`: an image and its partner are mixed alike) or once
    an image (`elem`). The share of the image itself is drawn from Beta(alpha, alpha), or, with
    `cutmix_minmax`, the sides of the box uniformly between these shares of the image's. With `correct_lam`
    the labels are mixed by the area of the box inside the image. Labels are smoothed by `label_smoothing`
    first. As in timm.
    """

    def __init__(
        self,
        mixup_alpha: Number = 1.0,
        cutmix_alpha: Number = 0.0,
        cutmix_minmax: list[Number] | None = None,
        prob: Number = 1.0,
        switch_prob: Number = 0.5,
        mode: Literal["batch", "pair", "elem"] = "batch",
        correct_lam: bool = True,
        label_smoothing: Number = 0.1,
        num_classes: int | None = None,
    ) -> None:
        if cutmix_minmax is not None:
            if len(cutmix_minmax) != 2 or not 0 < cutmix_minmax[0] <= cutmix_minmax[1] <= 1:
                raise UserError(f"cutmix_minmax is two shares, the smaller first, got {cutmix_minmax}")
            cutmix_alpha = 1.0
        if mixup_alpha <= 0 and cutmix_alpha <= 0:
            raise UserError("MixupCutmixHybrid needs mixup_alpha or cutmix_alpha above 0")
        for name, value in (
            ("prob", prob), ("switch_prob", switch_prob), ("label_smoothing", label_smoothing)
        ):  # fmt: skip
            if not 0 <= value <= 1:
                raise UserError(f"{name} must lie in 0..1, got {value}")
        self.mixup_alpha, self.cutmix_alpha, self.minmax = mixup_alpha, cutmix_alpha, cutmix_minmax
        self.prob, self.switch_prob, self.mode = prob, switch_prob, mode
        self.correct_lam, self.label_smoothing, self.num_classes = correct_lam, label_smoothing, num_classes

    def __call__(self, images: Tensor, labels: Tensor, rng: np.random.Generator) -> Mixed:
        if self.num_classes is not None and self.num_classes != labels.shape[1]:
            raise UserError(
                f"MixupCutmixHybrid: num_classes is {self.num_classes}, and the head has {labels.shape[1]}"
            )
        labels = (1 - self.label_smoothing) * labels + self.label_smoothing / labels.shape[1]
        changed, count = images.clone(), len(images)
        shares = torch.ones(count, 1, dtype=labels.dtype)
        if self.mode == "batch":
            groups = [list(range(count))]
        elif self.mode == "pair":
            groups = [sorted({i, count - 1 - i}) for i in range((count + 1) // 2)]
        else:
            groups = [[i] for i in range(count)]
        for group in groups:
            own, other = images[group], images[[count - 1 - i for i in group]]
            changed[group], shares[group] = self._mixed(own, other, rng)
        return changed, mixed(labels, labels.flip(0), shares)

    def _mixed(self, own: Tensor, other: Tensor, rng: np.random.Generator) -> tuple[Tensor, float]:
        """The images of a group mixed with their partners, and the share of their own labels."""
        if rng.random() >= self.prob:
            return own, 1.0
        both = self.mixup_alpha > 0 and self.cutmix_alpha > 0
        cut = rng.random() < self.switch_prob if both else self.cutmix_alpha > 0
        if not cut:
            share = float(rng.beta(self.mixup_alpha, self.mixup_alpha))
            return mixed(own, other, share), share
        height, width = own.shape[-2:]
        drawn = float(rng.beta(self.cutmix_alpha, self.cutmix_alpha))
        if self.minmax is not None:
            least, most = self.minmax
            rows, columns, share = box_of_share(height, width, least, most, rng)
        else:
            rows, columns, share = random_box(height, width, drawn, rng)
            share = share if self.correct_lam else drawn
        changed = own.clone()
        changed[..., rows, columns] = other[..., rows, columns]
        return changed, share
