"""Types in words, and that no message of any component shows Python's own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from pydantic import Field

from lookalike.cli.schema import all_registries
from lookalike.core.component import Component, Place
from lookalike.core.errors import UserError
from lookalike.core.numbers import Number
from lookalike.core.registry import Entry, Registry
from lookalike.core.words import either, in_words, short
from lookalike.model.attributes import initializers
from lookalike.training.optimizer_rules import regularizers


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (Number, "a number"),
        (int, "a whole number"),
        (bool, "true or false"),
        (str, "text"),
        (Any, "any value"),
        (Literal["a", "b"], "one of 'a', 'b'"),
        (Literal["ram"] | None, "'ram' or nothing"),
        (int | None, "a whole number or nothing"),
        (None | bool, "true or false, or nothing"),
        (int | list[int] | None, "a whole number, a list of whole numbers or nothing"),
        (list[Number], "a list of numbers"),
        (list[Literal["a", "b"]], "a list of values, each one of 'a', 'b'"),
        (list[list[int]], "a list of values, each a list of whole numbers"),
        (list, "a list"),
        (tuple[Number, Number], "a pair of numbers"),
        (tuple[int, int, int], "a list of 3 whole numbers"),
        (tuple[int, str], "a pair of values"),
        (tuple[str, ...], "a list of texts"),
        (Number | tuple[Number, Number], "a number or a pair of numbers"),
        (Mapping[str, int], "a section of keys"),
        (Annotated[int, Field(ge=1)], "a whole number of at least 1"),
        (list[Annotated[Number, Field(gt=0, lt=1)]], "a list of numbers above 0 below 1"),
        (np.ndarray, "an array"),
        (Place, "a Place"),
    ],
)
def test_types_in_words(annotation: Any, words: str) -> None:
    assert in_words(annotation) == words


def test_lists_of_choices_and_long_values() -> None:
    assert either([]) == ""
    assert either(["a"]) == "a"
    assert either(["a", "b", "c"]) == "a, b or c"
    assert short("x" * 100) == f"'{'x' * 56}…"


def _parameters() -> Iterator[Any]:
    kinds = {**all_registries(), "initializer": initializers, "regularizer": regularizers}
    for kind, given in kinds.items():
        for registry in [given] if isinstance(given, Registry) else given:
            for entry in registry:
                for name, parameter in entry.parameters().items():
                    if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
                        yield pytest.param(registry, entry, name, id=f"{kind}-{entry.name}-{name}")


class Nonsense:
    def __repr__(self) -> str:
        return "nonsense"


@pytest.mark.parametrize("value", [Nonsense(), [Nonsense()], {"no": Nonsense()}, "no such value"])
def test_no_message_shows_types_of_python(value: Any) -> None:
    """Every parameter of every component of every registry, given what it cannot take."""
    refused = 0
    for case in _parameters():
        registry, entry, name = case.values
        message = _complaint(registry, entry, name, value)
        if message is None:  # any value is taken here, or this one
            continue
        refused += 1
        assert re.search(rf"{re.escape(name)}: must be [\w'-]", message), message
        for internal in ("Annotated", "function", "Literal[", "typing", "<class", "Input should"):
            assert internal not in message, message
    assert refused > 100


def _complaint(registry: Registry[Any], entry: Entry[Any], name: str, value: Any) -> str | None:
    try:
        registry.check(Component(entry.name, {name: value}, Place("here")))
    except UserError as error:
        told = str(error)
        return None if re.match(r"here: .* needs '", told) else told
    return None
