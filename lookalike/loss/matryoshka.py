"""A loss of features laid over their first numbers as well, so that a part of a feature is one, too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from pydantic import Field, WithJsonSchema
from torch import Tensor, nn

from lookalike.core.component import Component
from lookalike.core.errors import UserError
from lookalike.core.numbers import Number, Sizes
from lookalike.loss.base import Term, read_output
from lookalike.loss.combined import build_term
from lookalike.loss.pairwise import unit_rows
from lookalike.loss.pseudo_labels import SoftSupConLoss
from lookalike.loss.registries import losses
from lookalike.recipe.schema import COMPONENT

_WIDTHS = ("embedding_size", "feat_dim")
"""What losses with weights or a memory call the numbers of a feature."""


@losses.register("MatryoshkaLoss")
class MatryoshkaLoss(Term):
    """L = sum_d w_d loss(x_:d / |x_:d|) over the `sizes` d, x_:d the first d numbers of a feature x.

    Kusupati et al., Matryoshka Representation Learning, 2022, https://arxiv.org/abs/2205.13147. `loss` is an
    entry as of Loss.Train, without a weight; it reads (N, D) from its own `feature_from`. One of classes
    (CELoss) reads the scores that a head with the same `sizes` gives of the first d numbers, by the first d
    columns of its weight (MRL-E in the paper); a head that has no `sizes` (FC, AdaMargin) cannot be used.

    `weights` are the w_d, 1 unless given. `per_step`: in training only so many sizes a batch, drawn by a
    generator of its own, alike in every process and run; their sum is not scaled up. With
    `normalize_feature` False x_:d keeps its length. A loss with weights or a memory has one for each size:
    its `embedding_size` or `feat_dim` is d. The sum is told as `Matryoshka_` and the name of the loss.

    Raises UserError for a size above D (training and `check` refuse it before the first batch), and for a
    loss that does not read one feature a sample of one model.
    """

    batches: Tensor

    def __init__(
        self,
        loss: Annotated[Any, WithJsonSchema({COMPONENT: "loss_entry"})],
        sizes: Sizes,
        weights: list[Number] | None = None,
        per_step: Annotated[int, Field(ge=1)] | None = None,
        normalize_feature: bool = True,
        reference_behaviour: bool = False,
    ) -> None:
        super().__init__()
        self.sizes = list(sizes)
        self.weights = [1.0] * len(sizes) if weights is None else list(weights)
        if len(self.weights) != len(self.sizes):
            raise UserError(
                f"MatryoshkaLoss: 'weights' has {len(self.weights)} numbers and 'sizes' {len(self.sizes)}: "
                "give one for each size"
            )
        if per_step is not None and per_step > len(self.sizes):
            raise UserError(
                f"MatryoshkaLoss: 'per_step' is {per_step}, but there are {len(self.sizes)} sizes"
            )
        self.per_step = per_step
        self.normalize_feature = normalize_feature
        component = Component.of(loss, "MatryoshkaLoss.loss")
        if "weight" in component.arguments:
            raise component.place_of("weight").error("belongs to MatryoshkaLoss, beside 'loss' and 'sizes'")
        terms = [build_term(_of_width(component, size), reference_behaviour) for size in self.sizes]
        self.feature_from: str = getattr(terms[0], "feature_from", "")
        if not self.feature_from or isinstance(terms[0], (MatryoshkaLoss, SoftSupConLoss)):
            raise component.place.error(
                f"{component.name} does not read one feature a sample of one model, of which MatryoshkaLoss "
                "could take the first numbers"
            )
        self.takes_soft_labels = bool(getattr(terms[0], "takes_soft_labels", False))
        self.terms = nn.ModuleList(terms)
        if per_step is not None:  # in checkpoints, so that a resumed run draws what the whole one would
            self.register_buffer("batches", torch.zeros((), dtype=torch.int64))

    def forward(
        self, outputs: Mapping[str, Any], labels: Tensor, batch: Mapping[str, Any] | None = None
    ) -> dict[str, Tensor]:
        """`{Matryoshka_NAME: sum}`. Raises UserError where the model gives no scores of a size."""
        sums: dict[str, Tensor] = {}
        for index in self._drawn():
            given = self.terms[index](self._first(outputs, self.sizes[index]), labels, batch)
            for name, value in given.items():
                told = f"Matryoshka_{name}"
                weighted = self.weights[index] * value
                sums[told] = sums[told] + weighted if told in sums else weighted
        return sums

    def _drawn(self) -> list[int]:
        """Places of the sizes that count in this batch."""
        if self.per_step is None or not self.training:
            return list(range(len(self.sizes)))
        # a generator of its own: processes that drew different sizes would wait for each other's gradients
        generator = torch.Generator().manual_seed(int(self.batches))
        self.batches += 1
        return sorted(torch.randperm(len(self.sizes), generator=generator)[: self.per_step].tolist())

    def _first(self, outputs: Mapping[str, Any], size: int) -> dict[str, Any]:
        """The outputs as a model would give them whose features have `size` numbers."""
        found = dict(outputs)
        scores = found.pop("logits", None)
        if f"logits_{size}" in found:
            found["logits"] = found[f"logits_{size}"]
        elif scores is not None and self.feature_from == "logits":
            raise UserError(
                f"MatryoshkaLoss reads class scores of the first {size} numbers, which the model does not "
                "give: write the same 'sizes' at Arch.Head, an ArcMargin, CosMargin or CircleMargin"
            )
        if self.feature_from == "logits":
            return found
        values = read_output(found, self.feature_from, "MatryoshkaLoss")
        if size > values.shape[1]:
            raise UserError(
                f"MatryoshkaLoss: 'sizes' has {size}, but '{self.feature_from}' has only {values.shape[1]} "
                "numbers"
            )
        first = values[:, :size]
        found[self.feature_from] = unit_rows(first) if self.normalize_feature else first
        return found


def _of_width(component: Component, size: int) -> Component:
    """The component for features of `size` numbers, where it has to be told."""
    known = losses.entry(component.name).parameters() if component.name in losses else component.arguments
    widths = {name: size for name in _WIDTHS if name in known}
    return component.with_arguments({**component.arguments, **widths})
