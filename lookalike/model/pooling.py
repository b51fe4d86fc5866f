"""Necks that pool maps to vectors."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lookalike.core.errors import UserError
from lookalike.core.numbers import Number
from lookalike.model.registries import necks


@necks.register("GeM", "GeneralizedMeanPooling")
class GeM(nn.Module):
    """(mean over places of max(x, eps)^p)^(1/p) of each channel. (N, C, H, W) → (N, C).

    The average at p = 1, the maximum as p grows. p is learned with the rest unless `learn_p` is false, and
    is free of weight decay, which would pull it to 0. The backbone has to end in a map: BackboneStopLayer
    names its last. Source: Fine-tuning CNN Image Retrieval with No Human Annotation,
    https://arxiv.org/abs/1711.02512.
    """

    takes_maps = True
    keeps_channels = True
    in_features = None
    out_features = None

    def __init__(self, p: Number = 3.0, eps: Number = 1e-6, learn_p: bool = True) -> None:
        super().__init__()
        if p <= 0:
            raise UserError(f"GeM needs a p above 0, got {p:g}")
        self.eps = eps
        self.p = nn.Parameter(torch.tensor([p]), requires_grad=learn_p)
        self.p.regularizer = ("L2", 0.0)  # type: ignore[attr-defined]

    def forward(self, maps: Tensor) -> Tensor:
        """Raises UserError for features that are no map."""
        if maps.ndim != 4:
            raise UserError(
                f"GeM pools maps (N, C, H, W), but is given {maps.ndim} dimensions: cut the backbone earlier"
            )
        # powers of half precision overflow, and round to what has no root
        powers = maps.float().clamp_min(self.eps).pow(self.p)
        return powers.mean(dim=(2, 3)).pow(1.0 / self.p)
