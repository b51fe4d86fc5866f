"""The registry: a name in a recipe, the class or function behind it, and the check of its arguments.

The signature of the registered callable is the schema. There is no second list of arguments anywhere.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from lookalike.core.component import Component, Place
from lookalike.core.errors import did_you_mean, nearest_or_all
from lookalike.core.log import note_once
from lookalike.core.words import in_words, short

T = TypeVar("T")
_F = TypeVar("_F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Swallowed:
    """An argument that is read and has no effect: why, and the values with which nothing is lost."""

    reason: str
    harmless: tuple[Any, ...] = (False, None, 0)


@dataclass(frozen=True)
class Entry(Generic[T]):
    """One registered component."""

    name: str
    build: Callable[..., T]
    aliases: tuple[str, ...] = ()
    swallows: Mapping[str, Swallowed] = field(default_factory=dict)

    def parameters(self) -> dict[str, inspect.Parameter]:
        """The arguments a recipe may give: the signature, its annotations resolved."""
        target = self.build.__init__ if inspect.isclass(self.build) else self.build
        hints = typing.get_type_hints(target, include_extras=True)
        return {
            name: parameter.replace(annotation=hints.get(name, Any))
            for name, parameter in inspect.signature(self.build).parameters.items()
        }


class Registry(Generic[T]):
    """Components of one kind, by the names that recipes use.

    `context` arguments of `build` are what the engine knows (a class count, the seed, `reference_behaviour`);
    each is handed to a component only when its signature has it, and what a recipe writes wins over it.
    `beside` tells of names that another library defines, such as `timm/<name>`, and `listed_in` where a
    person finds all names. `elsewhere` may be set to names that the caller builds itself, which then count
    when the nearest name is sought, and in the JSON schema; `stand_ins` to registries whose components may
    stand in the place of these: a name that is not here is looked up there.
    """

    def __init__(self, kind: str, beside: str = "", listed_in: str = "docs/components.md") -> None:
        self.kind = kind
        self.beside = beside
        self.listed_in = listed_in
        self.elsewhere: Collection[str] = ()
        self.stand_ins: tuple[Registry[T], ...] = ()
        self._entries: dict[str, Entry[T]] = {}
        self._names: dict[str, str] = {}

    def register(
        self, name: str, *aliases: str, swallows: Mapping[str, str | Swallowed] | None = None
    ) -> Callable[[_F], _F]:
        """Register the decorated class or function.

        `swallows` lists arguments that recipes of the reference carry and that have no effect, each with the
        reason that is told once, unless its value is one that asks for nothing (`Swallowed.harmless`).
        """
        swallowed = {
            argument: told if isinstance(told, Swallowed) else Swallowed(told)
            for argument, told in (swallows or {}).items()
        }

        def add(build: _F) -> _F:
            for known in (name, *aliases):
                if known in self._names:
                    raise ValueError(f"{self.kind} '{known}' is registered twice")
            self._names.update(dict.fromkeys((name, *aliases), name))
            self._entries[name] = Entry(name, build, aliases, swallowed)
            return build

        return add

    def __iter__(self) -> Iterator[Entry[T]]:
        return iter(self._entries.values())

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def names(self) -> list[str]:
        """All names, aliases included, sorted."""
        return sorted(self._names)

    def entry(self, name: str, place: Place | None = None) -> Entry[T]:
        """The entry of a name. Raises UserError that names the nearest one."""
        for registry in (self, *self.stand_ins):
            if name in registry:
                return registry._entries[registry._names[name]]
        known = {*self.elsewhere, *(other for each in (self, *self.stand_ins) for other in each.names())}
        near = nearest_or_all(name, known, self.listed_in, self.beside)
        raise (place or Place()).error(f"unknown {self.kind} '{name}'{near}")

    def check(self, component: Component, also: tuple[str, ...] = (), **context: Any) -> dict[str, Any]:
        """Arguments of a component, checked and converted to the types of the signature.

        Raises UserError for an unknown argument, a missing one or one of the wrong type. `also` names
        arguments that the caller takes itself (such as the weight of a loss); they are not handed on.
        """
        entry = self.entry(component.name, component.place)
        parameters = entry.parameters()
        open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        named = {n: p for n, p in parameters.items() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
        accepted = [n for n in named if n not in context or n in component.arguments] + [
            a for a in also if a not in named
        ]
        checked: dict[str, Any] = {}
        for argument, value in component.arguments.items():
            if argument in also and argument not in named:
                continue
            if argument in named:
                checked[argument] = _convert(named[argument].annotation, value, component, argument)
            elif argument in entry.swallows:
                self._warn_of(component, argument, value, entry)
            elif open_ended:
                checked[argument] = value
            else:
                near = did_you_mean(argument, [*accepted, *entry.swallows])
                listed = ", ".join(accepted) or "nothing"
                place = component.place.on_line_of(component.place_of(argument))
                raise place.error(f"unknown argument '{argument}'{near} (accepts: {listed})")
        for argument, value in context.items():
            if argument in named:
                checked.setdefault(argument, value)
        missing = [n for n, p in named.items() if p.default is p.empty and n not in checked]
        if missing:
            raise component.place.error(
                f"{self.kind} '{component.name}' needs {', '.join(map(repr, missing))} "
                f"(accepts: {', '.join(accepted)})"
            )
        return checked

    def _warn_of(self, component: Component, argument: str, value: Any, entry: Entry[T]) -> None:
        """Tell of an argument without effect, once however often and wherever a recipe has it."""
        swallowed = entry.swallows[argument]
        if not any(value is harmless or value == harmless for harmless in swallowed.harmless):
            place = component.place.on_line_of(component.place_of(argument))
            note_once(
                f"{place.prefix}'{argument}' has no effect: {swallowed.reason}",
                key=(self.kind, entry.name, argument),
            )

    def build(self, value: Any, path: str = "", also: tuple[str, ...] = (), **context: Any) -> T:
        """Build what a recipe (or a plain dict of the same form) names."""
        component = Component.of(value, path)
        return self.entry(component.name, component.place).build(**self.check(component, also, **context))


def _convert(annotation: Any, value: Any, component: Component, argument: str) -> Any:
    if annotation is Any or annotation is inspect.Parameter.empty:
        return value
    try:
        return _adapter(annotation).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        # a check of our own says more than the type does; what pydantic says of a type is in the words
        detail = f" ({first['ctx']['error']})" if first["type"] == "value_error" else ""
        raise component.place_of(argument).error(
            f"must be {in_words(annotation)}, got {short(value)}{detail}"
        ) from None


def _adapter(annotation: Any) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True))
    except Exception:  # a model or dataclass brings its own configuration and refuses a second one
        return TypeAdapter(annotation)
