"""Types in the words of somebody who writes a recipe: `int | None` is "a whole number or nothing"."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

import annotated_types

WORDS: dict[Any, tuple[str, str]] = {
    bool: ("true or false", "values true or false"),
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    str: ("text", "texts"),
    list: ("a list", "lists"),
    dict: ("a section of keys", "sections of keys"),
    type(None): ("nothing", "nothings"),
    Any: ("any value", "values"),
}
"""One value of a type, and several."""

_LIMITS = {
    annotated_types.Ge: ("of at least", "ge"),
    annotated_types.Gt: ("above", "gt"),
    annotated_types.Le: ("of at most", "le"),
    annotated_types.Lt: ("below", "lt"),
}


def in_words(annotation: Any) -> str:
    """What a value of this type is: "a number", "one of 'a', 'b'", "a list of whole numbers or nothing"."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return " ".join([in_words(arguments[0]), *_limits(arguments[1:])])
    if origin is typing.Literal:
        return f"{'one of ' if len(arguments) > 1 else ''}{', '.join(map(repr, arguments))}"
    if origin in (typing.Union, types.UnionType):
        choices = sorted(arguments, key=lambda choice: choice is type(None))  # nothing comes last
        return either([in_words(choice) for choice in choices])
    if origin is tuple and arguments[-1] is not ...:
        kinds = set(map(_several, arguments))
        inside = kinds.pop() if len(kinds) == 1 else "values"
        return f"a pair of {inside}" if len(arguments) == 2 else f"a list of {len(arguments)} {inside}"
    kind = origin or annotation
    if not inspect.isclass(kind):
        return WORDS.get(kind, WORDS[Any])[0]
    if issubclass(kind, Mapping):
        return WORDS[dict][0]
    if issubclass(kind, Sequence) and not issubclass(kind, str):
        return f"a list of {_several(arguments[0])}" if arguments else WORDS[list][0]
    name = kind.__name__.removeprefix("nd")  # NumPy's ndarray is an array
    return WORDS[kind][0] if kind in WORDS else f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def either(choices: Sequence[str]) -> str:
    """`a, b or c`, with a comma before the last `or` where a choice has one of its own."""
    if len(choices) < 2:
        return "".join(choices)
    comma = "," if any(" or " in choice or ", " in choice for choice in choices) else ""
    return f"{', '.join(choices[:-1])}{comma} or {choices[-1]}"


def short(value: Any) -> str:
    """The value as it stands in a message, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _several(annotation: Any) -> str:
    if typing.get_origin(annotation) is typing.Annotated:
        first, *more = typing.get_args(annotation)
        return " ".join([_several(first), *_limits(more)])
    known = WORDS.get(annotation) if isinstance(annotation, typing.Hashable) else None
    return known[1] if known else f"values, each {in_words(annotation)}"


def _limits(metadata: Sequence[Any]) -> list[str]:
    """The bounds of a number among the notes of its type."""
    flat = [inner for note in metadata for inner in (note, *getattr(note, "metadata", ()))]
    return [
        f"{words} {getattr(note, name)}"
        for note in flat
        for bound, (words, name) in _LIMITS.items()
        if isinstance(note, bound)
    ]
