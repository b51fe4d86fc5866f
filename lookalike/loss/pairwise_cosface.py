"""The pairwise CosFace loss of FastReID."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from lookalike.core.numbers import Number, Positive
from lookalike.loss.base import Loss
from lookalike.loss.pairwise import same_label, unit_rows
from lookalike.loss.registries import losses

_MASKED = -99999999.0  # finite: a row without positives then gives softplus(-1e8) = 0 and no gradient


@losses.register("PairwiseCosface")
class PairwiseCosface(Loss):
    """L = mean_i log(1 + sum_{p in P(i)} exp(-gamma s_ip) * sum_{n in N(i)} exp(gamma (s_in + margin)))

    with s the cosine similarity, P(i) the other samples of the label of i, N(i) those of other labels. The
    pair form of the CosFace margin (Wang et al., 2018, https://arxiv.org/abs/1801.09414) in the frame of Sun
    et al., Circle Loss, 2020, https://arxiv.org/abs/2002.10857, eq. 4; it has not the adaptive weights of
    Circle loss. Reads (N, D) from `feature_from`.

    A sample without positives or without negatives counts in the mean with 0. Same values as the reference,
    which has no defaults for `margin` and `gamma`.
    """

    output_key = "PairwiseCosface"

    def __init__(self, margin: Number = 0.35, gamma: Positive = 64.0, feature_from: str = "features") -> None:
        super().__init__(feature_from)
        self.margin = margin
        self.gamma = gamma

    def value(self, values: Tensor, labels: Tensor) -> Tensor:
        features = unit_rows(values)
        similarities, same = features @ features.t(), same_label(labels)
        own = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        positive = (-self.gamma * similarities).masked_fill(~same | own, _MASKED)
        negative = (self.gamma * (similarities + self.margin)).masked_fill(same, _MASKED)
        return functional.softplus(positive.logsumexp(dim=1) + negative.logsumexp(dim=1)).mean()
