"""`-o Global.epochs=3`: values from the command line, laid over what the file says.

The path is made of keys and list indices, `Loss.Train.0.CELoss.weight` or `Loss.Train[0].CELoss.weight`.
The value is YAML; it is read, never evaluated. A key alone that is one of Global's means that one:
`eval_during_train=False`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from lookalike.core.component import Place
from lookalike.core.errors import UserError, did_you_mean
from lookalike.recipe.global_keys import known_keys
from lookalike.recipe.reading import python_literal, read_value
from lookalike.recipe.schema import IGNORED_SECTIONS, section_names
from lookalike.recipe.tree import RecipeList, RecipeSection, plain

_SOURCE = "-o"
_STEP = re.compile(r"[^.\[\]]+|\[[^\[\]]*\]")


def apply_overrides(recipe: RecipeSection, overrides: Sequence[str]) -> None:
    """Lay `key=value` texts over a recipe, in order. Raises UserError for one that is wrong."""
    reject_spaces(overrides)
    for text in overrides:
        path, value_text = split_override(text)
        steps = read_path(path)
        value = read_override_value(value_text, path)
        _put(recipe, steps, value)


def reject_spaces(overrides: Sequence[str]) -> None:
    """Raise the sentence for `-o Global.epochs = 3`, which a shell hands over as three words.

    The words may come together, or, where a command line parser keeps only the first, the first without
    an `=` alone.
    """
    for index, text in enumerate(overrides):
        key, equals, value = text.partition("=")
        following = list(overrides[index + 1 : index + 3])
        right = None
        if not equals and following[:1] == ["="]:
            right = f"{key.strip()}={following[1] if len(following) > 1 else 'VALUE'}"
        elif not equals and following and following[0].startswith("="):
            right = f"{key.strip()}{following[0]}"
        elif not equals:
            raise UserError(
                f"-o {text}: there is no '='; write -o {key.strip() or 'KEY'}=VALUE, with no spaces"
            )
        elif not value and following and "=" not in following[0]:
            right = f"{key.strip()}={following[0]}"
        elif key != key.strip() or value != value.lstrip():
            right = f"{key.strip()}={value.strip()}"
        if right is not None:
            raise UserError(f"-o {text}: no spaces may stand around '='; write -o {_quoted(right)}")


def _quoted(text: str) -> str:
    return f"'{text}'" if re.search(r"""[\s'"$&|;<>()*?!`\\]""", text) and "'" not in text else text


def split_override(text: str) -> tuple[str, str]:
    """Path and value of `path=value`; only the first `=` divides, so that a value may hold others."""
    path, _, value = text.partition("=")
    if not path:
        raise UserError(f"-o {text}: there is no key before '='; write -o KEY=VALUE")
    return path, value


def read_path(path: str) -> list[str | int]:
    """The keys and indices of a path. A single key that is one of Global's is looked up there."""
    steps: list[str | int] = []
    position = 0
    for match in _STEP.finditer(path):
        between = path[position : match.start()]
        bracket = match.group().startswith("[")
        if between != ("" if bracket or not steps else "."):
            break
        position = match.end()
        word = match.group().strip("[]").strip()
        if bracket and not word.isdecimal():
            raise UserError(f"-o {path}: '[{word}]' is not an index; write a number from 0 up")
        steps.append(int(word) if word.isdecimal() else word)
    if position != len(path) or not steps or isinstance(steps[0], int):
        raise UserError(
            f"-o {path}: is not a path of keys; write it as Global.epochs or Loss.Train[0].CELoss.weight"
        )
    top = str(steps[0])
    sections = [*section_names(), *IGNORED_SECTIONS]
    if top in sections:
        return steps
    if len(steps) == 1 and top in known_keys():
        return ["Global", top]
    known = sections if len(steps) > 1 else [*sections, *known_keys()]
    near = did_you_mean(top, known)
    what = "section" if len(steps) > 1 else "section or key of Global"
    raise UserError(
        f"-o {path}: unknown {what} '{top}'{near or '.'} (sections: {', '.join(section_names())})"
    )


def read_override_value(text: str, path: str) -> Any:
    """A value after `=`: YAML, with Python's None, True and False; what YAML cannot begin with is text."""
    stripped = text.strip()
    try:
        value = read_value(stripped, Place(path, _SOURCE))
    except UserError as error:
        if stripped[:1] in tuple("[{\"'"):
            raise UserError(f"-o {path}={stripped}: {error}") from None
        return stripped  # such as *.jpg or @name, which begin with signs that YAML reserves
    return python_literal(value) if isinstance(value, str) and stripped[:1] not in ("'", '"') else value


def _put(recipe: RecipeSection, steps: list[str | int], value: Any) -> None:
    here: Any = recipe
    place = Place(file=_SOURCE)
    for number, step in enumerate(steps):
        last = number == len(steps) - 1
        if isinstance(here, RecipeList):
            here = _into_list(here, step, value, place, last)
        elif isinstance(here, RecipeSection):
            if number and isinstance(steps[number - 1], int):
                _reject_second_name(here, str(step), place)
            here = _into_section(here, str(step), value, place, last)
        else:
            raise place.error(f"is {here!r} and has no entry '{step}'")
        place = place.at(step)


def _into_list(entries: RecipeList, step: str | int, value: Any, place: Place, last: bool) -> Any:
    if not isinstance(step, int) or step >= len(entries):
        names = ", ".join(f"{index}: {_entry_name(entry)}" for index, entry in enumerate(entries))
        have = f"it has {len(entries)} ({names})" if len(entries) else "it is empty"
        what = f"has no entry {step}" if isinstance(step, int) else f"is a list, '{step}' is no index into it"
        raise place.error(f"{what}; {have}")
    if last:
        entries[step] = value
        entries.places[step] = place.at(step)
    elif entries[step] is None:
        entries[step] = RecipeSection(place=place.at(step))
    return entries[step]


def _reject_second_name(entry: RecipeSection, step: str, place: Place) -> None:
    """Raise UserError where a key would come beside the one name of an entry `Name: {argument: value}`."""
    if len(entry) != 1 or step in entry or step == "name":
        return
    ((name, arguments),) = entry.items()
    if arguments is None or isinstance(arguments, RecipeSection):
        near = did_you_mean(step, [name]) or "."
        raise place.error(
            f"is {name} and has no entry '{step}'{near} (its arguments: {place.at(name).path}.…; another in "
            f"its place: -o '{place.path}={{{step}: {{…}}}}')"
        )


def _into_section(section: RecipeSection, step: str, value: Any, place: Place, last: bool) -> Any:
    if last:
        section[step] = value
        section.places[step] = place.at(step)
    elif section.get(step) is None:  # a section that is not there yet; its keys are checked with the rest
        section[step] = RecipeSection(place=place.at(step))
        section.places[step] = place.at(step)
    return section[step]


def _entry_name(entry: Any) -> str:
    if isinstance(entry, dict) and entry:
        return str(entry.get("name") or next(iter(entry)))
    return repr(plain(entry))
