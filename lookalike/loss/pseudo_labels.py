"""Losses on unlabelled images whose label is what the model says of a weakly augmented view: FixMatch, CCSSL.

Sohn et al., FixMatch, 2020, https://arxiv.org/abs/2001.07685. Yang et al., Class-Aware Contrastive
Semi-Supervised Learning, 2022, https://arxiv.org/abs/2203.02261.

The losses of `UnLabelLoss.Train` are called as `loss(outputs, labels, batch)` for N unlabelled images, with

- `outputs["logits"]` (N, C): the logits of the first strongly augmented view,
- `outputs["features"]` (N, V, D): the features of all V strong views (two in CCSSL), with their gradient,
- `labels` (N,): the pseudo labels, the most probable class of the weak view,
- `batch["confidence"]` (N,): the probability of that class,
- `batch["mask"]` (N,): 1 where the confidence reaches the threshold of the recipe, else 0.

Nothing of the weak view carries a gradient. (The reference has `max_probs` for `confidence`, `p_targets_u_w`
for the labels and `logits_s1` for the logits.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from lookalike.core.errors import UserError
from lookalike.core.numbers import Positive
from lookalike.loss.base import Term, in_full_precision, one_a_sample, read_batch, read_output
from lookalike.loss.pairwise import same_label
from lookalike.loss.registries import losses

_SOURCE = "it is made by Global.train_mode fixmatch and fixmatch_ccssl"
_MASKED = -1e9  # finite, so that a row without any other sample has a finite gradient


@losses.register("CCSSLCELoss")
class CCSSLCELoss(Term):
    """L = mean_i mask_i (-log softmax(logits_i)[pseudo label i]); images that are masked count in the mean.

    Reads `logits` (N, C), the pseudo labels and `mask` of the batch. https://arxiv.org/abs/2001.07685, eq. 4.
    Same values as the reference. Raises UserError when the batch has no `mask`.
    """

    output_key = "CCSSLCELoss"

    def forward(
        self, outputs: Mapping[str, Any], labels: Tensor, batch: Mapping[str, Any] | None = None
    ) -> dict[str, Tensor]:
        logits = read_output(outputs, "logits", self.output_key)
        mask = read_batch(batch, "mask", self.output_key, _SOURCE)
        mask = one_a_sample(mask, logits, self.output_key, what="mask")
        labels = one_a_sample(labels, logits, self.output_key).long()
        with torch.autocast(logits.device.type, enabled=False):
            terms = functional.cross_entropy(logits, labels, reduction="none") * mask.to(logits)
        return {self.output_key: terms.mean()}


@losses.register("SoftSupConLoss")
class SoftSupConLoss(Term):
    """L = (T / T_base) mean_a -sum_p w_p log(exp(x_a.x_p / T) / sum_{b != a} exp(x_a.x_b / T)) / sum_p w_p

    over all views a of all images, p the other views of that image and all views of images with its pseudo
    label, w_p the confidence of the image of p. T is `temperature`, T_base `base_temperature`.
    https://arxiv.org/abs/2203.02261, eq. 6 (which weighs a pair by the product of both confidences; that of
    the anchor cancels). Reads `features` (N, V, D), used as they are: the neck of CCSSL (FRFNNeck) makes them
    unit vectors. With `contrast_mode` `one` only the first view of each image is an anchor.

    An anchor all of whose positives have confidence 0 counts with 0. The reference gives NaN there, and fails
    for `one` and for more than two views.

    Raises UserError when the features have no views, or the batch has no `confidence`.
    """

    output_key = "SoftSupConLoss"

    def __init__(
        self,
        temperature: Positive = 0.07,
        contrast_mode: Literal["all", "one"] = "all",
        base_temperature: Positive = 0.07,
        feature_from: str = "features",
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.contrast_mode = contrast_mode
        self.base_temperature = base_temperature
        self.feature_from = feature_from

    def forward(
        self, outputs: Mapping[str, Any], labels: Tensor, batch: Mapping[str, Any] | None = None
    ) -> dict[str, Tensor]:
        views = outputs.get(self.feature_from)
        if not isinstance(views, Tensor) or views.dim() != 3:
            raise UserError(
                f"{self.output_key} reads '{self.feature_from}' as (N, V, D), the V views of each image; got "
                f"{'nothing' if views is None else f'the shape {tuple(views.shape)}'}"
            )
        confidence = read_batch(batch, "confidence", self.output_key, _SOURCE)
        confidence = one_a_sample(confidence, views, self.output_key, what="confidence")
        labels = one_a_sample(labels, views, self.output_key)
        views = in_full_precision(views)
        with torch.autocast(views.device.type, enabled=False):
            return {self.output_key: self.value(views, labels, confidence.detach().to(views))}

    def value(self, views: Tensor, labels: Tensor, confidence: Tensor) -> Tensor:
        """The loss of views (N, V, D), pseudo labels (N,) and confidences (N,)."""
        images, count, _ = views.shape
        features = views.transpose(0, 1).flatten(0, 1)  # first the first view of every image
        own = torch.eye(len(features), dtype=torch.bool, device=views.device)
        logits = (features @ features.t() / self.temperature).masked_fill(own, _MASKED)
        log_shares = logits - logits.logsumexp(dim=1, keepdim=True)
        weights = (same_label(labels.repeat(count)) & ~own) * confidence.repeat(count)
        totals = weights.sum(dim=1)
        terms = -(weights * log_shares).sum(dim=1) / totals.masked_fill(totals == 0, 1)
        anchors = terms if self.contrast_mode == "all" else terms[:images]
        return self.temperature / self.base_temperature * anchors.mean()
