"""Losses over several domains (cameras, sites), for features that work in a new one: MetaBIN.

Choi, Kim, Jeong, Kim, Kim, Meta Batch-Instance Normalization for Generalizable Person Re-Identification,
2021, https://arxiv.org/abs/2011.14670.

The domain of each sample is `batch["domain"]`, (N,) or (N, 1) whole numbers. Everything else is read as by
any loss: features from the model's outputs, identities from the labels.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from lookalike.core.errors import UserError
from lookalike.core.numbers import Number
from lookalike.loss.base import Term, one_a_sample, read_batch, read_output
from lookalike.loss.cross_entropy import CELoss
from lookalike.loss.pairwise import distances, hardest, same_label, unit_rows
from lookalike.loss.registries import losses
from lookalike.loss.triplet import TripletLossV2

_SOURCE = "domains come from a data set with cameras and a sampler with 'camera_to_domain'"


class DomainLoss(Term):
    """A term that reads features, identities and `batch["domain"]`, in float32. A subclass writes `value`."""

    output_key: str

    def __init__(self, normalize_feature: bool = True, feature_from: str = "features") -> None:
        super().__init__()
        self.normalize_feature = normalize_feature
        self.feature_from = feature_from

    @abstractmethod
    def value(self, features: Tensor, labels: Tensor, domains: Tensor) -> Tensor:
        """The loss of features (N, D), identities (N,) and domains (N,)."""

    def forward(
        self, outputs: Mapping[str, Any], labels: Tensor, batch: Mapping[str, Any] | None = None
    ) -> dict[str, Tensor]:
        """`{output_key: loss}`. Raises UserError when the batch has no `domain` for each sample."""
        features = read_output(outputs, self.feature_from, self.output_key)
        domains = read_batch(batch, "domain", self.output_key, _SOURCE)
        domains = one_a_sample(domains, features, self.output_key, what="domain")
        labels = one_a_sample(labels, features, self.output_key)
        with torch.autocast(features.device.type, enabled=False):
            features = unit_rows(features) if self.normalize_feature else features
            return {self.output_key: self.value(features, labels, domains)}


@losses.register("IntraDomainScatterLoss")
class IntraDomainScatterLoss(DomainLoss):
    """L = mean over domains of mean_{i in domain} cos(x_i, c), c the mean of the features of the domain.

    Scatters the samples of a domain. https://arxiv.org/abs/2011.14670, eq. 9. Reads (N, D) from
    `feature_from`, L2-normalised unless `normalize_feature` is False. A centre or feature of zero length has
    cosine 0. Same values as the reference.
    """

    output_key = "IntraDomainScatterLoss"

    def value(self, features: Tensor, labels: Tensor, domains: Tensor) -> Tensor:
        _, domain = torch.unique(domains, return_inverse=True)
        members = functional.one_hot(domain).to(features)
        counts = members.sum(dim=0)
        centres = members.t() @ features / counts[:, None]
        cosines = (unit_rows(features) * unit_rows(centres)[domain]).sum(dim=1)
        return (members.t() @ cosines / counts).mean()


@losses.register("InterDomainShuffleLoss")
class InterDomainShuffleLoss(DomainLoss):
    """L = mean_i log(1 + exp(max_p d(i, p) - min_n d(i, n))), d Euclidean.

    p runs over the samples of other domains, n over those of other identities in the domain of i: distances
    between domains become no longer than within them. https://arxiv.org/abs/2011.14670, eq. 10. Reads (N, D)
    from `feature_from`, L2-normalised unless `normalize_feature` is False.

    i counts among its own p, so a batch of one domain has the distance 0 there. A sample without any n counts
    with 0. Where the exponential of the reference overflows (differences above 88, which unit vectors do not
    have), it takes another loss, the mean of max(0, max_p d - min_n d + 0.3); ours does not overflow.
    """

    output_key = "InterDomainShuffleLoss"

    def value(self, features: Tensor, labels: Tensor, domains: Tensor) -> Tensor:
        between, together = distances(features), same_label(domains)
        own = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        negatives = together & ~same_label(labels)
        gap = hardest(between, own | ~together, largest=True) - hardest(between, negatives, largest=False)
        return (functional.softplus(gap) * negatives.any(dim=1)).mean()


@losses.register("CELossForMetaBIN")
class CELossForMetaBIN(CELoss):
    """CELoss whose smoothing gives the own class 1 - epsilon and each other class epsilon / (C - 1).

    CELoss itself spreads epsilon over all classes, the own one included. Reads `logits` (N, C). Its value is
    told as `CELoss`, as in the reference.

    Raises UserError where epsilon is too large for the number of classes: above (C - 1) / C.
    """

    def smoothing(self, classes: int) -> float:
        if not self.epsilon:
            return 0.0
        if self.epsilon * classes > classes - 1:
            raise UserError(
                f"CELossForMetaBIN: epsilon must be at most {(classes - 1) / classes:.3g} for {classes} "
                f"classes, got {self.epsilon}"
            )
        return self.epsilon * classes / (classes - 1)


@losses.register("TripletLossForMetaBIN")
class TripletLossForMetaBIN(TripletLossV2):
    """TripletLossV2 with the defaults of MetaBIN: margin 1, features as they are.

    Its value is told as `TripletLoss`. Any batch works, also in the reference, which reads `feature` where
    `feature_from` is not given: its models have no such output, so here the default is `features`.
    """

    output_key = "TripletLoss"

    def __init__(
        self, margin: Number = 1.0, normalize_feature: bool = False, feature_from: str = "features"
    ) -> None:
        super().__init__(margin, normalize_feature, feature_from)
