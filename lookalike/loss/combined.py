"""The weighted sum of the losses that a recipe lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lookalike.core.component import Component, Place, SectionList
from lookalike.core.errors import UserError
from lookalike.core.numbers import parse_number
from lookalike.loss.base import Term
from lookalike.loss.distillation.pair import pair_losses
from lookalike.loss.metric_learning_library import PREFIX, LibraryLoss
from lookalike.loss.registries import losses


class CombinedLoss(nn.Module):
    """total = sum_i weight_i * loss_i.

    `forward` gives the weighted terms, each under the name of its loss, and their sum under `loss`. A second
    loss of one name appears as `CELoss_2`.

    The reference ignores the weight of a lone loss and sums only the first of its values, and lets the later
    of two losses of one name overwrite the earlier, so that only it counts; `reference_behaviour=True` does
    the same.
    """

    def __init__(self, terms: Sequence[tuple[Term, float]], reference_behaviour: bool = False) -> None:
        super().__init__()
        self.terms = nn.ModuleList(term for term, _ in terms)
        self.weights = [weight for _, weight in terms]
        if reference_behaviour and len(terms) == 1:
            self.weights = [1.0]
        self.reference_behaviour = reference_behaviour

    def forward(
        self, outputs: Mapping[str, Any], labels: Tensor, batch: Mapping[str, Any] | None = None
    ) -> dict[str, Tensor]:
        """`{"CELoss": weighted value, …, "loss": total}` of the model's outputs and labels (N,) or (N, 1).

        Raises UserError when there is no loss, when a loss reads an output that the model does not give, or
        when a label does not fit to the logits.
        """
        if not self.weights:
            raise UserError(
                "there is no loss to train with: list at least one under Loss.Train of the recipe"
            )
        results: dict[str, Tensor] = {}
        for term, weight in zip(self.terms, self.weights, strict=True):
            for name, value in term(outputs, labels, batch).items():
                if value.numel() != 1:
                    raise UserError(
                        f"{name} with reduction 'none' gives one value a sample, which cannot be summed into "
                        "a training loss: use reduction 'mean' or 'sum'"
                    )
                results[self._free_name(name, results)] = weight * value.reshape(())
        counted = list(results.values())
        if self.reference_behaviour and len(self.terms) == 1:
            counted = counted[:1]
        results["loss"] = torch.stack(counted).sum()
        return results

    def _free_name(self, name: str, taken: Mapping[str, Tensor]) -> str:
        if self.reference_behaviour or name not in taken:
            return name
        number = 2
        while f"{name}_{number}" in taken:
            number += 1
        return f"{name}_{number}"

    def extra_repr(self) -> str:
        return f"weights={self.weights}"


def build_loss(section: Sequence[Any] | None, reference_behaviour: bool = False) -> CombinedLoss:
    """The sum of the losses of a list such as `[{CELoss: {epsilon: 0.1}}, {TripletLossV2: {weight: 0.5}}]`.

    `weight` defaults to 1. None or an empty list gives a sum without terms, which cannot be evaluated.
    `pml.<Name>` is a loss of pytorch-metric-learning.

    Raises UserError for an unknown loss or argument.
    """
    place = section.place if isinstance(section, SectionList) else Place("Loss.Train")
    if section is None:
        section = []
    if isinstance(section, (str, Mapping)) or not isinstance(section, Sequence):
        raise place.error("expected a list of losses, written as '- CELoss: {weight: 1.0}'")
    terms = []
    for index, entry in enumerate(section):
        component = Component.of(entry, str(place.at(index)))
        terms.append((build_term(component, reference_behaviour), _weight(component)))
    return CombinedLoss(terms, reference_behaviour)


def build_term(component: Component, reference_behaviour: bool) -> Term:
    """One loss, without its weight."""
    if component.name.startswith(PREFIX):
        return LibraryLoss(component)
    if component.name not in losses and component.name in pair_losses:
        own = f"Distillation{component.name}"
        direct = f"{own}, or " if own in losses else ""
        raise component.place.error(
            f"{component.name} compares two models: here it stands as {direct}DistillationPairLoss with "
            f"base_loss_name: {component.name}"
        )
    term = losses.build(component, also=("weight",), reference_behaviour=reference_behaviour)
    term.component = component
    return term


def _weight(component: Component) -> float:
    weight = component.arguments.get("weight", 1.0)
    try:
        if isinstance(weight, bool):
            raise TypeError
        return parse_number(weight) if isinstance(weight, str) else float(weight)
    except (TypeError, ValueError):
        raise component.place_of("weight").error(f"must be a number, got {weight!r}") from None
