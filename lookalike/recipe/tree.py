"""The tree of sections that a recipe is made of, and the place of every value in it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from lookalike.core.component import Place, Section, SectionList


class RecipeSection(Section):
    """A section in which single keys may come from elsewhere than the file: from `-o`."""

    def __init__(self, values: Mapping[str, Any] | None = None, place: Place | None = None) -> None:
        super().__init__(values, place)
        self.places: dict[str, Place] = {}

    def place_of(self, key: str) -> Place:
        return self.places.get(key) or super().place_of(key)

    def __deepcopy__(self, memo: dict[int, Any]) -> RecipeSection:
        return relocated(self)

    def __reduce__(self) -> tuple[Callable[..., RecipeSection], tuple[Any, ...]]:
        return _section_again, (dict(self), self.place, self.lines, self.places)


class RecipeList(SectionList):
    """A list in which single entries may come from elsewhere than the file: from `-o`."""

    def __init__(self, values: list[Any] | None = None, place: Place | None = None) -> None:
        super().__init__(values, place)
        self.places: dict[int, Place] = {}

    def place_of(self, index: int) -> Place:
        return self.places.get(index) or super().place_of(index)

    def __deepcopy__(self, memo: dict[int, Any]) -> RecipeList:
        return relocated_list(self)

    def __reduce__(self) -> tuple[Callable[..., RecipeList], tuple[Any, ...]]:
        return _list_again, (list(self), self.place, self.lines, self.places)


def _section_again(
    values: dict[str, Any], place: Place, lines: dict[str, int], places: dict[str, Place]
) -> RecipeSection:
    section = RecipeSection(values, place)
    section.lines, section.places = lines, places
    return section


def _list_again(values: list[Any], place: Place, lines: list[int], places: dict[int, Place]) -> RecipeList:
    entries = RecipeList(values, place)
    entries.lines, entries.places = lines, places
    return entries


def relocated(section: Mapping[str, Any], place: Place | None = None) -> RecipeSection:
    """A deep copy of a mapping as a section; what has no place yet gets one below `place`."""
    here = section.place if isinstance(section, Section) else place or Place()
    copied = RecipeSection(place=here)
    if isinstance(section, Section):
        copied.lines = dict(section.lines)
    if isinstance(section, RecipeSection):
        copied.places = dict(section.places)
    for key, value in section.items():
        copied[str(key)] = with_places(value, copied.place_of(str(key)))
    return copied


def relocated_list(entries: list[Any] | tuple[Any, ...], place: Place | None = None) -> RecipeList:
    """A deep copy of a list; what has no place yet gets one below `place`."""
    here = entries.place if isinstance(entries, SectionList) else place or Place()
    copied = RecipeList(place=here)
    if isinstance(entries, SectionList):
        copied.lines = list(entries.lines)
    if isinstance(entries, RecipeList):
        copied.places = dict(entries.places)
    for index, value in enumerate(entries):
        copied.append(with_places(value, copied.place_of(index)))
    return copied


def with_places(value: Any, place: Place) -> Any:
    """A deep copy of any value of a recipe in which mappings and lists know their place."""
    if isinstance(value, Mapping):
        return relocated(value, place)
    if isinstance(value, (list, tuple)):
        return relocated_list(value, place)
    return copy.copy(value)


def plain(value: Any) -> Any:
    """The value without places: nothing but dict, list and scalars."""
    if isinstance(value, Mapping):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    return value


def place_at(root: Section, steps: tuple[str | int, ...]) -> Place:
    """The place of the value that these keys and indices lead to."""
    place: Place = root.place
    here: Any = root
    for number, step in enumerate(steps):
        if (isinstance(here, Section) and isinstance(step, str)) or (
            isinstance(here, SectionList) and isinstance(step, int)
        ):
            place = here.place_of(step)  # type: ignore[arg-type]
        else:
            for rest in steps[number:]:
                place = place.at(rest)
            return place
        known = step in here if isinstance(here, Section) else int(step) < len(here)
        here = here[step] if known else None  # type: ignore[index]
    return place
