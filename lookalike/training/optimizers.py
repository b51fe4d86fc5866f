"""Optimizers with the reference's names, arguments and arithmetic, on torch's fast implementations.

A section `{name: Momentum, momentum: 0.9, lr: {…}, regularizer: {name: L2, coeff: 1.e-5}}` becomes one torch
optimizer whose parameter groups hold what is decayed and scaled alike. One update is, per tensor: clip the
gradient, add the decay term (coupled decay), step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lookalike.core.component import Component, Place, Section, SectionList
from lookalike.core.errors import UserError
from lookalike.core.log import warn_once
from lookalike.training.optimizer_rules import Rule, optimizers
from lookalike.training.parameter_groups import Settings, group_parameters, parameters_in_scope
from lookalike.training.schedules import Schedule, build_schedule

__all__ = ["Optimizers", "Planned", "build_optimizer", "optimizers", "plan_optimizer"]

_ADVICE = "resume with the recipe it was written with, or start from its weights with Global.pretrained_model"


@dataclass(frozen=True)
class Planned:
    """One optimizer as its section says it, before there are parameters."""

    name: str
    component: Component
    rule: Rule
    schedule: Schedule


@dataclass
class Part:
    """One optimizer with its schedule. A recipe has several where it lists optimizers by scope."""

    name: str
    rule: Rule
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    learning_rate: float = 0.0

    def set_learning_rate(self, update: int, epoch: int) -> None:
        self.learning_rate = self.schedule.at(epoch if self.schedule.by_epoch else update)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate * group["lr_multiplier"]

    def tensors(self) -> list[Tensor]:
        """The parameters that have a gradient."""
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]
                if parameter.grad is not None]  # fmt: skip

    def parameters(self) -> dict[str, Tensor]:
        """Parameters by name, in the order of the torch optimizer's numbering."""
        return {
            name: parameter
            for group in self.optimizer.param_groups
            for name, parameter in zip(group["names"], group["params"], strict=True)
        }

    def state_dict(self) -> dict[str, Any]:
        """State by parameter name, so that it fits whatever groups the recipe makes."""
        state = self.optimizer.state
        named = self.parameters().items()
        return {"name": self.name, "state": {name: dict(state[p]) for name, p in named if state.get(p)}}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        parameters = self.parameters()
        for name, entry in saved["state"].items():
            fits = name in parameters and all(
                value.shape == parameters[name].shape
                for value in entry.values()
                if isinstance(value, Tensor) and value.dim()
            )
            if not fits:
                fault = "has another shape here" if name in parameters else "the model does not have"
                raise UserError(
                    f"the checkpoint has optimizer state for the parameter '{name}', which {fault}: {_ADVICE}"
                )
        numbers = {name: number for number, name in enumerate(parameters)}
        names = [group.pop("names") for group in self.optimizer.param_groups]
        try:
            self.optimizer.load_state_dict(
                {
                    "state": {
                        numbers[name]: _copied(entry, parameters[name])
                        for name, entry in saved["state"].items()
                    },
                    "param_groups": self.optimizer.state_dict()["param_groups"],
                }
            )
        finally:
            for group, kept in zip(self.optimizer.param_groups, names, strict=True):
                group["names"] = kept


def _copied(entry: Mapping[str, Any], parameter: Tensor) -> dict[str, Any]:
    """The state of one parameter, in its memory order; a copy, so that two optimizers never share state."""

    def copied(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        if not value.dim():  # the count of steps
            return value.clone()
        return torch.empty_like(parameter, dtype=value.dtype).copy_(value)

    return {key: copied(value) for key, value in entry.items()}


class Optimizers:
    """The optimizers of a run with their schedules, stepped together.

    Per update call `step()`, `zero_grad()`, `schedule_step()`; per epoch `epoch_end(metric)`. The state holds
    tensors, numbers and strings only, so that `torch.load(weights_only=True)` reads it.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = list(parts)
        self.updates = 0
        self.epochs = 0
        self._refresh()

    @property
    def learning_rate(self) -> list[float]:
        """The rate of the next update, one an optimizer, before the multipliers of its parameters."""
        return [part.learning_rate for part in self.parts]

    @property
    def parameter_groups(self) -> list[dict[str, Any]]:
        """All groups of all optimizers: `params`, `names`, `lr`, `lr_multiplier`, `weight_decay` and more."""
        return [group for part in self.parts for group in part.optimizer.param_groups]

    def step(self, scaler: torch.amp.GradScaler | None = None, places: Sequence[int] | None = None) -> None:
        """One update from the gradients that the parameters hold; those without a gradient stay as they are.

        `places` names the optimizers that take part by their place in the list, all by default. A loss scaler
        is unscaled before anything looks at the gradients, and updated at the end.
        """
        taking_part = self.parts if places is None else [self.parts[place] for place in places]
        parts = [part for part in taking_part if part.tensors()]
        if scaler is None or not scaler.is_enabled():
            for part in parts:
                part.rule.before_step(part.optimizer.param_groups, part.tensors())
                part.optimizer.step()
            return
        for part in parts:
            scaler.unscale_(part.optimizer)
        for part in parts:
            part.rule.before_step(part.optimizer.param_groups, part.tensors())
            scaler.step(part.optimizer)
        if parts:
            scaler.update()

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for part in self.parts:
            part.optimizer.zero_grad(set_to_none=True)

    def schedule_step(self) -> None:
        """One update is done: schedules that step by update go on."""
        self.updates += 1
        self._refresh()

    def epoch_end(self, metric: float | None = None) -> None:
        """One epoch is done: schedules by epoch go on, those that follow the metric hear it, if given."""
        if metric is not None:
            for part in self.parts:
                part.schedule.observe(self.epochs, metric)
        self.epochs += 1
        self._refresh()

    def state_dict(self) -> dict[str, Any]:
        return {
            "updates": self.updates,
            "epochs": self.epochs,
            "optimizers": [part.state_dict() for part in self.parts],
            "schedules": [part.schedule.state_dict() for part in self.parts],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` gave. Rates and decay are those of this run's recipe, not of the file.

        Raises UserError when the state is that of other optimizers or other parameters.
        """
        saved = list(state["optimizers"])
        if [entry["name"] for entry in saved] != [part.name for part in self.parts]:
            raise UserError(
                f"the checkpoint was written with {', '.join(entry['name'] for entry in saved)}, the recipe "
                f"has {', '.join(part.name for part in self.parts)}: {_ADVICE}"
            )
        for part, entry, schedule in zip(self.parts, saved, state["schedules"], strict=True):
            part.load_state_dict(entry)
            if schedule:
                part.schedule.load_state_dict(dict(schedule))
        self.updates, self.epochs = int(state["updates"]), int(state["epochs"])
        self._refresh()

    def _refresh(self) -> None:
        for part in self.parts:
            part.set_learning_rate(self.updates, self.epochs)


def build_optimizer(
    section: Any,
    model: nn.Module,
    loss: nn.Module | None = None,
    *,
    epochs: int,
    steps_per_epoch: int,
    reference_behaviour: bool = False,
) -> Optimizers:
    """The optimizer of an `Optimizer` section, or those of a list `[{Adam: {scope: RecModel, …}}, …]`.

    `steps_per_epoch` is the number of updates of an epoch. Parameters of the losses are trained too. `lr` is
    a schedule or a number. `scope` names what an optimizer trains: all (default), the class of the model, one
    of its attributes (backbone, neck, head), a loss class, or a regular expression that matches names of
    sub-modules in full.

    A parameter may carry `lr_multiplier: float`, which multiplies its rate, and `regularizer: (kind,
    coefficient)`, which replaces the section's decay for it.

    Raises UserError for an unknown optimizer or argument, and for a scope that matches nothing.
    """
    parts = []
    for planned in plan_optimizer(section, epochs, steps_per_epoch, reference_behaviour):
        component, rule = planned.component, planned.rule
        scope = component.arguments.get("scope")
        named = parameters_in_scope(scope, model, loss, component.place_of("scope"))
        settings: list[Settings] = rule.settings(named, model, component.place)
        groups = group_parameters(named, settings)
        parts.append(Part(planned.name, rule, rule.make(groups), planned.schedule))
    _tell_untrained(parts, model, loss)
    return Optimizers(parts)


def plan_optimizer(
    section: Any, epochs: int, steps_per_epoch: int, reference_behaviour: bool = False
) -> list[Planned]:
    """What an `Optimizer` section says by itself, for which no model is needed; see `build_optimizer`.

    Raises UserError for an unknown optimizer or argument.
    """
    place = section.place if isinstance(section, (Section, SectionList)) else Place("Optimizer")
    if not section:
        raise place.error(
            "no optimizer is given: write for example 'Optimizer: {name: Momentum, momentum: 0.9, lr: 0.01}'"
        )
    entries = list(section) if isinstance(section, (list, tuple)) else [section]
    found = []
    for index, entry in enumerate(entries):
        component = Component.of(entry, str(place.at(index)) if len(entries) > 1 else place.path)
        rule = optimizers.build(component, also=("lr", "scope"), reference_behaviour=reference_behaviour)
        rule.decay(component.place)  # says what is wrong with a regularizer
        schedule = build_schedule(
            component.arguments.get("lr"),
            epochs=epochs,
            steps_per_epoch=steps_per_epoch,
            reference_behaviour=reference_behaviour,
        )
        found.append(Planned(optimizers.entry(component.name).name, component, rule, schedule))
    return found


def _tell_untrained(parts: Sequence[Part], model: nn.Module, loss: nn.Module | None) -> None:
    trained = {id(p) for part in parts for group in part.optimizer.param_groups for p in group["params"]}
    everything = parameters_in_scope(None, model, loss, Place("Optimizer"))
    left = [name for name, parameter in everything if id(parameter) not in trained]
    if left:
        warn_once(
            f"{len(left)} parameters are in no optimizer's scope and stay as they are, first '{left[0]}'"
        )
