"""Freezing parts of a model: parameters that get no gradient, and batch norms that keep their statistics."""

from __future__ import annotations

import re
from collections.abc import Sequence

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from lookalike.core.component import Place
from lookalike.core.errors import UserError, did_you_mean


def freeze(module: nn.Module, patterns: Sequence[str], place: Place | None = None) -> list[str]:
    """Freeze what the patterns name; returns the dotted names of the frozen batch norms.

    A pattern is the name of a module or parameter (everything below it freezes with it) or a regular
    expression that matches such a name as a whole: `backbone`, `backbone.stages[0]`,
    `backbone\\.stages\\.[01]`.

    Raises UserError for a pattern that names nothing.
    """
    place = place or Place("Arch.freeze")
    names = [name for name, _ in module.named_modules() if name]
    names += [name for name, _ in module.named_parameters()]
    frozen: set[str] = set()
    for number, pattern in enumerate(patterns):
        found = _matching(names, pattern, place.at(number))
        if not found:
            raise place.at(number).error(
                f"'{pattern}' names no part of the model{did_you_mean(pattern, names)}"
            )
        frozen.update(found)

    def is_frozen(name: str) -> bool:
        steps = name.split(".")
        return any(".".join(steps[:depth]) in frozen for depth in range(1, len(steps) + 1))

    for name, parameter in module.named_parameters():
        if is_frozen(name):
            parameter.requires_grad_(False)
    return [name for name, part in module.named_modules() if name and is_norm(part) and is_frozen(name)]


def is_norm(part: nn.Module) -> bool:
    """Whether a module is a batch norm."""
    return isinstance(part, _BatchNorm)


def _matching(names: list[str], pattern: str, place: Place) -> set[str]:
    path = re.sub(r"\[(\d+)\]", r".\1", pattern)
    if path in names:
        return {path}
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise UserError(f"{place}: '{pattern}' is not a regular expression ({error})") from None
    return {name for name in names if expression.fullmatch(name)}
