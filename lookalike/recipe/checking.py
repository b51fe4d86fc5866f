"""The check of a recipe against its form, and the sentences for what is wrong."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ValidationError

from lookalike.core.component import Section, SectionList
from lookalike.core.errors import UserError, did_you_mean
from lookalike.core.log import note_once
from lookalike.core.words import either, in_words, short
from lookalike.recipe.forms import aliases, below, form_of
from lookalike.recipe.global_keys import OTHER_NAMES, WITHOUT_MEANING, Global
from lookalike.recipe.other_forms import write_as_ours
from lookalike.recipe.schema import IGNORED_SECTIONS, NO_EFFECT, RecipeForm
from lookalike.recipe.tree import RecipeSection, place_at, plain

_TYPES = {"bool": bool, "int": int, "float": float, "string": str, "list": list, "dict": dict, "model": dict}
"""How pydantic calls a type in its mistakes."""

_LIMITS = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("more than", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("less than", "lt"),
}


def check(tree: RecipeSection) -> RecipeForm:
    """The recipe in its form. Raises UserError for the first mistake; warns of what has no effect."""
    _set_aside(tree)
    write_as_ours(tree)
    try:
        form = RecipeForm.model_validate(tree)
    except ValidationError as error:
        raise _sentence(tree, error) from None
    _tell_without_effect(tree, RecipeForm)
    settings = form.global_
    if "sim_block_size" in settings.model_fields_set and not settings.reference_behaviour:
        place = place_at(tree, ("Global", "sim_block_size"))
        note_once(
            f"{place}: has no effect: the size follows from the memory, except with reference_behaviour",
            key=("Global", "sim_block_size"),
        )
    return form


def _tell_without_effect(section: Section, model: type[BaseModel], path: tuple[str, ...] = ()) -> None:
    """Warn of the keys of a section, and of those below it, that mean nothing here."""
    for name, field in model.model_fields.items():
        key = field.alias or name
        if not section.get(key):
            continue
        told = field.description or ""
        if told.startswith(NO_EFFECT):
            reason = told.removeprefix(NO_EFFECT)
            note_once(f"{section.place_of(key)}: has no effect: {reason}", key=(*path, key))
        else:
            _tell_below(section[key], field.annotation, (*path, key))


def _tell_below(value: Any, annotation: Any, path: tuple[str, ...]) -> None:
    form = form_of(annotation, value)
    if isinstance(form, type):
        if isinstance(value, Section):
            _tell_without_effect(value, form, path)
    elif isinstance(value, (list, dict)):
        for step in range(len(value)) if isinstance(value, list) else list(value):
            _tell_below(value[step], below(form, step), path)


def _set_aside(tree: RecipeSection) -> None:
    """Take out of the tree what means nothing here, and write other names of keys as ours."""
    for name, reason in IGNORED_SECTIONS.items():
        if name in tree:
            if tree[name]:
                note_once(f"{tree.place_of(name)}: has no effect: {reason}", key=("recipe", name))
            del tree[name]
    if tree.get("Global") is None:
        tree.pop("Global", None)
        return
    settings = tree["Global"]
    if not isinstance(settings, RecipeSection):
        return
    for name, reason in WITHOUT_MEANING.items():
        if name in settings:
            if settings[name]:
                note_once(f"{settings.place_of(name)}: has no effect: {reason}", key=("Global", name))
            del settings[name]
    for other, name in OTHER_NAMES.items():
        if other not in settings:
            continue
        place = settings.place_of(other)
        value = settings.pop(other)
        if settings.get(name) is not None and settings[name] != value:
            if value is None:
                continue
            raise place.error(f"'{other}' and '{name}' are one key with two values; keep one of them")
        settings[name] = value
        settings.places[name] = place


def _sentence(tree: Section, error: ValidationError) -> UserError:
    details = error.errors()
    unknown = [detail for detail in details if detail["type"] == "extra_forbidden"]
    detail = (unknown or details)[0]
    steps = _steps(tree, detail["loc"])
    place = place_at(tree, steps)
    kind, value = detail["type"], plain(detail.get("input"))
    if kind == "extra_forbidden":
        key = str(steps[-1])
        accepted = _accepted(tree, steps[:-1])
        return place.error(
            f"unknown key '{key}'{did_you_mean(key, [*accepted, *_also(tree, steps[:-1])]) or '.'} "
            f"(accepts: {', '.join(accepted)})"
        )
    if kind == "missing":
        return place_at(tree, steps[:-1]).error(f"needs the key '{steps[-1]}'")
    if kind == "value_error":
        got = "" if isinstance(value, dict) else f", got {short(value)}"
        return place.error(f"{detail['ctx']['error']}{got}")
    if kind == "literal_error":
        expected = detail["ctx"]["expected"]
        return place.error(f"must be {'one of ' if ' or ' in expected else ''}{expected}, got {value!r}")
    if kind == "string_pattern_mismatch":
        pattern = detail["ctx"]["pattern"].partition("(")[2].partition(")")[0]
        return place.error(f"must be one of {pattern.replace('|', ', ')}, got {value!r}")
    if kind in _LIMITS:
        words, limit = _LIMITS[kind]
        return place.error(f"must be {words} {detail['ctx'][limit]}, got {short(value)}")
    if kind in ("too_short", "too_long"):
        wanted_length = detail["ctx"].get("min_length", detail["ctx"].get("max_length"))
        return place.error(f"must have {wanted_length} entries, got {short(value)}")
    # a value that may be of several types has a mistake for each of them
    together = [other for other in details if _steps(tree, other["loc"]) == steps]
    types_wanted = list(dict.fromkeys(_TYPES.get(other["type"].split("_")[0]) for other in together))
    if None not in types_wanted and kind.endswith(("_type", "_parsing", "_from_float")):
        wanted = either([in_words(kind) for kind in types_wanted])
        return place.error(f"must be {wanted}, got {short(value)}")
    return place.error(f"{detail['msg'][:1].lower()}{detail['msg'][1:]}, got {short(value)}")


def _steps(tree: Any, location: tuple[int | str, ...]) -> tuple[str | int, ...]:
    """Keys and indices of a location, without the names of union members that pydantic puts in."""
    steps: list[str | int] = []
    form: Any = RecipeForm
    here = tree
    for number, step in enumerate(location):
        last = number == len(location) - 1
        inside = (isinstance(here, dict) and step in here) or (
            isinstance(here, (list, SectionList)) and isinstance(step, int)
        )
        named = isinstance(form, type) and isinstance(step, str) and step in aliases(form)
        if not inside and not named and not (last and isinstance(here, dict) and isinstance(step, str)):
            continue
        steps.append(step)
        here = here[step] if inside and (not isinstance(step, int) or step < len(here)) else None
        form = form_of(below(form, step), here)
    return tuple(steps)


def _form_at(tree: Any, steps: tuple[str | int, ...]) -> Any:
    """What may stand where these steps lead to, from the form of a recipe and what the recipe holds there."""
    form: Any = RecipeForm
    for step in steps:
        tree = tree[step] if (isinstance(tree, dict) and step in tree) or _has(tree, step) else None
        form = form_of(below(form, step), tree)
    return form


def _has(value: Any, step: str | int) -> bool:
    return isinstance(value, list) and isinstance(step, int) and step < len(value)


def _accepted(tree: Any, steps: tuple[str | int, ...]) -> list[str]:
    form = _form_at(tree, steps)
    return aliases(form) if isinstance(form, type) else []


def _also(tree: Any, steps: tuple[str | int, ...]) -> list[str]:
    return [*OTHER_NAMES, *WITHOUT_MEANING] if _form_at(tree, steps) is Global else []
