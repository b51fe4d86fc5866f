"""The supervised contrastive loss."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from lookalike.core.numbers import Positive
from lookalike.loss.base import Loss
from lookalike.loss.pairwise import same_label, unit_rows
from lookalike.loss.registries import losses

_MASKED = -1e9  # finite, so that a row without any other sample has a finite gradient


@losses.register(
    "SupConLoss", swallows={"views": "positives are found by their labels, in any order and number"}
)
class SupConLoss(Loss):
    """L = (T / T_base) mean_i -1/|P(i)| sum_{p in P(i)} log(exp(x_i.x_p / T) / sum_{a != i} exp(x_i.x_a / T))

    with P(i) the other samples of the label of i, T `temperature` and T_base `base_temperature`. Khosla et
    al., Supervised Contrastive Learning, 2020, https://arxiv.org/abs/2004.11362 (L_out). Reads (N, D) from
    `feature_from`, L2-normalised unless `normalize_feature` is False. `contrast_mode`: with `all` every
    sample is an anchor, with `one` only the first sample of each label.

    The mean is over the anchors that have a positive; without any it is 0. The reference needs contiguous
    groups of `views` samples and as many in every batch as in the first, and fails for `one`; here batches
    are free and `views` is unused.
    """

    output_key = "SupConLoss"

    def __init__(
        self,
        temperature: Positive = 0.07,
        contrast_mode: Literal["all", "one"] = "all",
        base_temperature: Positive = 0.07,
        normalize_feature: bool = True,
        feature_from: str = "features",
    ) -> None:
        super().__init__(feature_from)
        self.temperature = temperature
        self.contrast_mode = contrast_mode
        self.base_temperature = base_temperature
        self.normalize_feature = normalize_feature

    def value(self, values: Tensor, labels: Tensor) -> Tensor:
        features = unit_rows(values) if self.normalize_feature else values
        own = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        same = same_label(labels)
        positives = same & ~own
        logits = (features @ features.t() / self.temperature).masked_fill(own, _MASKED)
        log_shares = logits - logits.logsumexp(dim=1, keepdim=True)
        counts = positives.sum(dim=1)
        anchors = counts > 0
        if self.contrast_mode == "one":
            anchors = anchors & ~same.tril(diagonal=-1).any(dim=1)
        terms = -log_shares.masked_fill(~positives, 0.0).sum(dim=1) / counts.clamp_min(1)
        mean = terms.masked_fill(~anchors, 0.0).sum() / anchors.sum().clamp_min(1)
        return self.temperature / self.base_temperature * mean
