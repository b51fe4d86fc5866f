"""Feature distillation with layers of its own between student and teacher; they train with the student."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from lookalike.core.errors import UserError
from lookalike.core.numbers import Number
from lookalike.loss.distillation.pair import PairLoss, pair_losses
from lookalike.loss.pairwise import unit_rows


@pair_losses.register("PEFDLoss")
class PEFDLoss(PairLoss):
    """L = mean_i (1 - cos(mean_q relu(W_q s_i + b_q), t_i)), with `num_projectors` projections q.

    Chen, Wang, Liu, Xu, de Hoog, Huang, Improved Feature Distillation via Projector Ensemble, 2022,
    https://arxiv.org/abs/2210.15274. Reads features of `student_channel` and `teacher_channel` values, or
    maps, which `mode` gap averages over their places and flatten makes one vector. A feature of zero length
    has cosine 0, where the reference gives NaN; a teacher that is not frozen gets a gradient.
    """

    one_shape = False

    def __init__(
        self,
        student_channel: int,
        teacher_channel: int,
        num_projectors: int = 3,
        mode: Literal["flatten", "gap"] = "flatten",
    ) -> None:
        super().__init__()
        if num_projectors < 1:
            raise UserError(f"PEFDLoss: num_projectors must be at least 1, got {num_projectors}")
        self.mode = mode
        self.projectors = nn.ModuleList(
            nn.Linear(student_channel, teacher_channel) for _ in range(num_projectors)
        )

    def value(self, student: Tensor, teacher: Tensor, labels: Tensor | None) -> Tensor:
        student, teacher = self._vectors(student), self._vectors(teacher)
        projected = torch.stack([functional.relu(projector(student)) for projector in self.projectors])
        return (1 - (unit_rows(projected.mean(dim=0)) * unit_rows(teacher)).sum(dim=1)).mean()

    def _vectors(self, output: Tensor) -> Tensor:
        if output.dim() == 4 and self.mode == "gap":
            return output.mean(dim=(2, 3))
        return output.flatten(1)


@pair_losses.register("MGDLoss")
class MGDLoss(PairLoss):
    """L = alpha_mgd mean (G(m * A(student)) - teacher)^2: a part of a map has to regenerate the whole.

    A is a 1x1 convolution where the numbers of channels differ, m switches off each channel of each sample
    with probability `lambda_mgd`, G is convolution, ReLU, convolution (3x3). Yang, Li, Shao, Shi, Yuan, Yang,
    Masked Generative Distillation, 2022, https://arxiv.org/abs/2205.01529. Reads maps (N, C, H, W) of one
    size; vectors (N, C) count as maps of one place. Channels instead of places are masked as in the
    reference, whose constants these are.
    """

    one_shape = False

    def __init__(
        self,
        student_channels: int,
        teacher_channels: int,
        alpha_mgd: Number = 1.756,
        lambda_mgd: Number = 0.15,
    ) -> None:
        super().__init__()
        self.alpha_mgd = alpha_mgd
        self.lambda_mgd = lambda_mgd
        same = student_channels == teacher_channels
        self.align = nn.Identity() if same else nn.Conv2d(student_channels, teacher_channels, 1)
        self.generation = nn.Sequential(
            nn.Conv2d(teacher_channels, teacher_channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(teacher_channels, teacher_channels, 3, padding=1),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def value(self, student: Tensor, teacher: Tensor, labels: Tensor | None) -> Tensor:
        student, teacher = _as_map(student), _as_map(teacher)
        if student.shape[2:] != teacher.shape[2:]:
            raise UserError(
                f"MGDLoss compares maps of one size, but the student gives {tuple(student.shape)} and the "
                f"teacher {tuple(teacher.shape)}"
            )
        kept = torch.rand(*teacher.shape[:2], 1, 1, device=teacher.device) >= self.lambda_mgd
        regenerated = self.generation(self.align(student) * kept)
        return self.alpha_mgd * functional.mse_loss(regenerated, teacher)


def _as_map(output: Tensor) -> Tensor:
    return output[:, :, None, None] if output.dim() == 2 else output
