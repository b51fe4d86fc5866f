"""The check of a recipe against its form, and the sentences for what is wrong."""

from __future__ import annotations

import inspect
import types
import typing
from typing import Any

from pydantic import BaseModel, ValidationError

from lookalike.core.component import Section, SectionList
from lookalike.core.errors import UserError, did_you_mean
from lookalike.core.log import warn_once
from lookalike.core.words import either, in_words, short
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
        warn_once(
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
        below, told = _below(model, key), field.description or ""
        if told.startswith(NO_EFFECT):
            reason = told.removeprefix(NO_EFFECT)
            warn_once(f"{section.place_of(key)}: has no effect: {reason}", key=(*path, key))
        elif below is not None and isinstance(section[key], Section):
            _tell_without_effect(section[key], below, (*path, key))


def _set_aside(tree: RecipeSection) -> None:
    """Take out of the tree what means nothing here, and write other names of keys as ours."""
    for name, reason in IGNORED_SECTIONS.items():
        if name in tree:
            if tree[name]:
                warn_once(f"{tree.place_of(name)}: has no effect: {reason}", key=("recipe", name))
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
                warn_once(f"{settings.place_of(name)}: has no effect: {reason}", key=("Global", name))
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
        accepted = _accepted(steps[:-1])
        return place.error(
            f"unknown key '{key}'{did_you_mean(key, [*accepted, *_also(steps[:-1])]) or '.'} "
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
    model: type[BaseModel] | None = RecipeForm
    here = tree
    for number, step in enumerate(location):
        last = number == len(location) - 1
        inside = (isinstance(here, dict) and step in here) or (
            isinstance(here, (list, SectionList)) and isinstance(step, int)
        )
        named = model is not None and isinstance(step, str) and step in _aliases(model)
        if not inside and not named and not (last and isinstance(here, dict) and isinstance(step, str)):
            continue
        steps.append(step)
        here = here[step] if inside and (not isinstance(step, int) or step < len(here)) else None
        model = _below(model, step)
    return tuple(steps)


def _aliases(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _below(model: type[BaseModel] | None, step: str | int) -> type[BaseModel] | None:
    """The model of the value under a key, None where that is no model."""
    if model is None or isinstance(step, int):
        return None
    for name, field in model.model_fields.items():
        if (field.alias or name) == step:
            return _model_in(field.annotation)
    return None


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        for choice in typing.get_args(annotation):
            if found := _model_in(choice):
                return found
    return None


def _model_at(steps: tuple[str | int, ...]) -> type[BaseModel] | None:
    model: type[BaseModel] | None = RecipeForm
    for step in steps:
        model = _below(model, step)
    return model


def _accepted(steps: tuple[str | int, ...]) -> list[str]:
    model = _model_at(steps)
    return _aliases(model) if model else []


def _also(steps: tuple[str | int, ...]) -> list[str]:
    return [*OTHER_NAMES, *WITHOUT_MEANING] if _model_at(steps) is Global else []
