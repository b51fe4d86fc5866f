"""The center loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lookalike.core.errors import UserError
from lookalike.loss.base import Loss
from lookalike.loss.label_range import LabelRange
from lookalike.loss.registries import losses


@losses.register("CenterLoss")
class CenterLoss(Loss):
    """L = mean_i |x_i - c_{y_i}|^2, with a centre of each class that is learned with the model.

    Wen, Zhang, Li, Qiao, A Discriminative Feature Learning Approach for Deep Face Recognition, 2016 (without
    its factor 1/2), as re-identification uses it: Luo et al., Bag of Tricks and a Strong Baseline, 2019,
    https://arxiv.org/abs/1903.07071. Reads (N, `feat_dim`) from `feature_from`. The centres are the parameter
    `centers` (num_classes, feat_dim), at first standard normal; an optimizer of their own is named by
    `scope: CenterLoss`.

    The reference adds 1e-12 for every class that a sample is not of; `reference_behaviour=True` does so.

    Raises UserError for labels outside of 0 .. num_classes - 1 and features of another length.
    """

    output_key = "CenterLoss"

    def __init__(
        self,
        num_classes: int,
        feat_dim: int,
        feature_from: str = "features",
        reference_behaviour: bool = False,
    ) -> None:
        super().__init__(feature_from)
        self.centers = nn.Parameter(torch.randn(num_classes, feat_dim))
        self.labels_of_centers = LabelRange("CenterLoss", "it", "its num_classes")
        self.reference_behaviour = reference_behaviour

    def value(self, values: Tensor, labels: Tensor) -> Tensor:
        classes, length = self.centers.shape
        if values.shape[1] != length:
            raise UserError(
                f"CenterLoss: feat_dim is {length}, but '{self.feature_from}' has {values.shape[1]} values"
            )
        labels = self.labels_of_centers.within(labels.long(), classes)
        squared = (values - self.centers.to(values)[labels]).square().sum(dim=1)
        if self.reference_behaviour:
            squared = squared.clamp(1e-12, 1e12) + (classes - 1) * 1e-12
        return squared.mean()
