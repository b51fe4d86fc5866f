"""Which parameters an optimizer trains, and which of them are decayed and scaled alike."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from lookalike.core.component import Place
from lookalike.core.errors import did_you_mean

Named = list[tuple[str, nn.Parameter]]


@dataclass(frozen=True)
class Settings:
    """What differs between parameters of one optimizer; equal settings share a parameter group."""

    lr_multiplier: float = 1.0
    weight_decay: float = 0.0
    """Coefficient of the torch optimizer: coupled for all but AdamW."""
    added_l1: float = 0.0
    """Coefficient of sign(parameter) that is added to the gradient."""
    added_l2: float = 0.0
    """Coefficient of the parameter that is added to the gradient, where weight_decay is decoupled."""
    early_decay: float = 0.0
    """Decoupled decay with the rate before its multiplier, ahead of the step (AdamWDL of the reference)."""


def parameters_in_scope(scope: Any, model: nn.Module, loss: nn.Module | None, place: Place) -> Named:
    """The parameters to train of a scope as in `build_optimizer`; names of the losses' begin with `loss.`.

    Raises UserError for a scope that matches nothing.
    """
    if scope is not None and not isinstance(scope, str):
        raise place.error(f"must be a name, got {scope!r}")
    if scope is None or scope == "all":
        found = _parameters([("", model), ("loss", loss)])
    elif scope in (type(model).__name__, "RecModel"):
        found = _parameters([("", model)])
    elif scope.endswith("Loss"):
        terms = loss.named_modules() if loss is not None else ()
        found = _parameters(
            [(f"loss.{name}", module) for name, module in terms if type(module).__name__ == scope]
        )
    else:
        try:
            pattern = re.compile(scope)
        except re.error as error:
            raise place.error(f"'{scope}' is no regular expression: {error}") from None
        found = _parameters(
            [(name, module) for name, module in model.named_modules() if name and pattern.fullmatch(name)]
        )
    if not found:
        known = ["all", type(model).__name__, *(name for name, _ in model.named_children())]
        raise place.error(
            f"'{scope}' matches nothing to train{did_you_mean(scope or 'all', known) or '.'} (known: "
            f"{', '.join(known)}, loss classes, or a regular expression of sub-module names)"
        )
    return found


def _parameters(modules: Sequence[tuple[str, nn.Module | None]]) -> Named:
    found: dict[int, tuple[str, nn.Parameter]] = {}
    for prefix, module in modules:
        if module is None:
            continue
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                found.setdefault(id(parameter), (f"{prefix}.{name}" if prefix else name, parameter))
    return list(found.values())


def group_parameters(named: Named, settings: Sequence[Settings]) -> list[dict[str, Any]]:
    """Parameter groups for a torch optimizer, one for each distinct setting, in order of first appearance."""
    groups: dict[Settings, dict[str, Any]] = {}
    for (name, parameter), setting in zip(named, settings, strict=True):
        group = groups.setdefault(setting, {"params": [], "names": [], **asdict(setting)})
        group["params"].append(parameter)
        group["names"].append(name)
    return list(groups.values())
