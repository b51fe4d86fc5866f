"""Relational distillation: the student repeats the angles and distances between the teacher's samples."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from lookalike.core.numbers import Number
from lookalike.loss.distillation.pair import PairLoss, pair_losses
from lookalike.loss.pairwise import distances, unit_rows


class _Relation(PairLoss):
    """A pair loss on vectors of any two lengths; maps (N, C, H, W) are averaged to `target_size`² places."""

    one_shape = False

    def __init__(self, target_size: int | None) -> None:
        super().__init__()
        self.target_size = target_size

    def vectors(self, output: Tensor) -> Tensor:
        """An output as (N, D)."""
        if output.dim() == 4 and self.target_size is not None:
            output = functional.adaptive_avg_pool2d(output, self.target_size)
        return output.flatten(1)


@pair_losses.register("RKdAngle")
class RKdAngle(_Relation):
    """L = mean_ijk huber(cos of the student's angle j-i-k, cos of the teacher's), over all i, j, k.

    Park, Kim, Lu, Cho, Relational Knowledge Distillation, 2019, https://arxiv.org/abs/1904.05068, eq. 8.
    Student and teacher may have vectors of different lengths; maps are averaged to `target_size` x
    `target_size` first where that is given. Memory grows with N^3. A teacher that is not frozen gets a
    gradient. Same values as the reference.
    """

    def __init__(self, target_size: int | None = None) -> None:
        super().__init__(target_size)

    def value(self, student: Tensor, teacher: Tensor, labels: Tensor | None) -> Tensor:
        return functional.smooth_l1_loss(_cosines(self.vectors(student)), _cosines(self.vectors(teacher)))


def _cosines(features: Tensor) -> Tensor:
    """(N, N, N): of the angle at i between j and k; 0 where j or k lies on i."""
    count = len(features)
    towards = features[None, :] - features[:, None]
    directions = unit_rows(towards.flatten(0, 1)).view(count, count, -1)
    return directions @ directions.transpose(1, 2)


@pair_losses.register("RkdDistance")
class RkdDistance(_Relation):
    """L = mean_ij huber(d^s_ij / mean d^s, d^t_ij / mean d^t), d Euclidean, over all i, j.

    https://arxiv.org/abs/1904.05068, eq. 6; the mean that scales the distances is over all entries, those of
    a sample to itself included, as in the reference. Student and teacher may have vectors of different
    lengths; maps are averaged to `target_size` x `target_size` places first. A teacher that is not frozen
    gets a gradient. Same values as the reference, which fails for vectors unless `target_size` is None.
    """

    def __init__(self, eps: Number = 1e-12, target_size: int | None = 1) -> None:
        super().__init__(target_size)
        self.eps = eps

    def value(self, student: Tensor, teacher: Tensor, labels: Tensor | None) -> Tensor:
        return functional.smooth_l1_loss(
            self._scaled(self.vectors(student)), self._scaled(self.vectors(teacher))
        )

    def _scaled(self, features: Tensor) -> Tensor:
        between = distances(features)
        return between / (between.mean() + self.eps)
