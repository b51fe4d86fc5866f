"""What a recipe says at one place:

where it stands in the file, and which component it names with which arguments.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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
        return f"{where}{self.path}" if self.path else where.rstrip(": ") or "value"

    def at(self, key: str | int, line: int | None = None) -> Place:
        """The place of an entry below this one."""
        step = f"[{key}]" if isinstance(key, int) else f".{key}" if self.path else key
        return Place(self.path + step, self.file, line or self.line)

    def error(self, what: str) -> UserError:
        return UserError(f"{self}: {what}")


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


@dataclass(frozen=True)
class Component:
    """A name out of a registry with its arguments."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    place: Place = field(default_factory=Place)

    @classmethod
    def of(cls, value: Any, path: str = "") -> Component:
        """Read `Name`, `{name: Name, argument: value}` or `{Name: {argument: value}}`, as recipes write
        components.

        Raises UserError when the value has none of these forms.
        """
        if isinstance(value, Component):
            return value
        place = value.place if isinstance(value, (Section, SectionList)) else Place(path)
        if isinstance(value, str):
            return cls(value, {}, place)
        if isinstance(value, Mapping):
            if isinstance(value.get("name"), str):
                return cls(value["name"], {k: v for k, v in value.items() if k != "name"}, place)
            if len(value) == 1:
                ((name, arguments),) = value.items()
                inner = value.place_of(name) if isinstance(value, Section) else place.at(str(name))
                if arguments is None:
                    return cls(str(name), {}, inner)
                if isinstance(arguments, Mapping):
                    return cls(str(name), dict(arguments), inner)
        raise place.error(
            "expected a component, written as '- Name: {argument: value}' or with a key 'name', "
            f"got {value!r}"
        )

    def place_of(self, argument: str) -> Place:
        return self.place.at(argument)
