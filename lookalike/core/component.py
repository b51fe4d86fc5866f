"""What a recipe says at one place: which component it names, with which arguments, in which line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lookalike.core.errors import UserError


@dataclass(frozen=True)
class Place:
    """Where a value stands: `recipes/product/sop.yaml:41: Loss.Train[1].TripletLossV2`."""

    path: str = ""
    file: str | None = None
    line: int | None = None

    def __str__(self) -> str:
        where = (
            f"{self.file}:{self.line}: " if self.file and self.line else f"{self.file}: " if self.file else ""
        )
        return f"{where}{self.path}" if self.path else where.rstrip(": ")

    @property
    def prefix(self) -> str:
        """How a message about this place begins: `file:line: path: `, or nothing where it is not known."""
        where = str(self)
        return f"{where}: " if where else ""

    def at(self, key: str | int, line: int | None = None) -> Place:
        """The place of an entry below this one."""
        step = f"[{key}]" if isinstance(key, int) else f".{key}" if self.path else key
        return Place(self.path + step, self.file, line or self.line)

    def on_line_of(self, other: Place) -> Place:
        """The path of this place with the file and line of another: of the key in it that is wrong."""
        return Place(self.path, other.file, other.line)

    def error(self, what: str) -> UserError:
        """The mistake at this place; where the place is not known, `what` stands alone."""
        error = UserError(f"{self.prefix}{what}")
        error.placed = bool(self.prefix)
        return error

    def around(self, error: UserError) -> UserError:
        """The error with this place in front, where it does not bear one already."""
        return error if error.placed else self.error(str(error))


class Section(dict[str, Any]):
    """A mapping of a recipe that knows its place. It is a plain dict for everybody who does not ask."""

    def __init__(self, values: Mapping[str, Any] | None = None, place: Place | None = None) -> None:
        super().__init__(values or {})
        self.place = place or Place()
        self.lines: dict[str, int] = {}

    def place_of(self, key: str) -> Place:
        return self.place.at(key, self.lines.get(key))


class SectionList(list[Any]):
    """A list of a recipe that knows its place."""

    def __init__(self, values: list[Any] | None = None, place: Place | None = None) -> None:
        super().__init__(values or [])
        self.place = place or Place()
        self.lines: list[int] = []

    def place_of(self, index: int) -> Place:
        return self.place.at(index, self.lines[index] if index < len(self.lines) else None)


def place_of(section: Mapping[str, Any], key: str, place: Place) -> Place:
    """The place of a key of a mapping that stands at `place` and may be a plain one."""
    return section.place_of(key) if isinstance(section, Section) else place.at(key)


@dataclass(frozen=True)
class Component:
    """A name out of a registry with its arguments."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    place: Place = field(default_factory=Place)
    source: Section | None = field(default=None, repr=False, compare=False)
    """The section that the arguments were read from, which knows their lines."""

    @classmethod
    def of(cls, value: Any, path: str = "") -> Component:
        """Read `Name`, `{name: Name, argument: value}` or `{Name: {argument: value}}`, as recipes write
        components.

        Raises UserError when the value has none of these forms.
        """
        if isinstance(value, Component):
            return value
        place = value.place if isinstance(value, (Section, SectionList)) else Place(path)
        source = value if isinstance(value, Section) else None
        if isinstance(value, str):
            return cls(value, {}, place)
        if isinstance(value, Mapping):
            if isinstance(value.get("name"), str):
                return cls(value["name"], {k: v for k, v in value.items() if k != "name"}, place, source)
            if len(value) == 1:
                ((name, arguments),) = value.items()
                inner = value.place_of(name) if isinstance(value, Section) else place.at(str(name))
                if arguments is None:
                    return cls(str(name), {}, inner)
                if isinstance(arguments, Mapping):
                    source = arguments if isinstance(arguments, Section) else None
                    return cls(str(name), dict(arguments), inner, source)
        raise place.error(
            "expected a component, written as '- Name: {argument: value}' or with a key 'name', "
            f"got {value!r}"
        )

    def place_of(self, argument: str) -> Place:
        """The place of an argument: its own line, or `-o` where it was given there."""
        if self.source is None or argument not in self.source:
            return self.place.at(argument)
        return self.place.at(argument).on_line_of(self.source.place_of(argument))

    def with_arguments(self, arguments: Mapping[str, Any]) -> Component:
        """The component with other arguments; those that it had keep their places."""
        return replace(self, arguments=dict(arguments))
