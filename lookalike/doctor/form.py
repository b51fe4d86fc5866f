"""Reading a recipe with all its mistakes, not the first one only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lookalike.core.errors import UserError
from lookalike.doctor.findings import Report
from lookalike.recipe import Recipe, apply_overrides, find_recipe
from lookalike.recipe.checking import check as check_form
from lookalike.recipe.reading import read_file
from lookalike.recipe.tree import RecipeSection

_MOST = 50


def read_leniently(path_or_name: str | Path, overrides: Sequence[str], report: Report) -> Recipe | None:
    """The recipe, with a problem in the report for each mistake in its form.

    A wrong entry is told, taken out, and the form is looked at again, so that the check goes on with the
    rest. None where nothing is left to go on with.
    """
    try:
        path = find_recipe(path_or_name)
        report.name = str(path)
        tree = read_file(path)
        apply_overrides(tree, overrides)
    except UserError as error:
        report.wrong("recipe", str(error))
        return None
    for _ in range(_MOST):
        try:
            check_form(tree)
            return Recipe.from_dict(tree, name=str(path))
        except UserError as error:
            report.wrong("recipe", str(error))
            if not _take_out(tree, error.__context__):
                return None
    return None


def _take_out(tree: RecipeSection, cause: BaseException | None) -> bool:
    """Remove the entry that a mistake is about. False where there is none to remove, such as a missing
    key.
    """
    if not isinstance(cause, ValidationError):
        return False
    details = cause.errors()
    unknown = [detail for detail in details if detail["type"] == "extra_forbidden"]
    return _remove(tree, list((unknown or details)[0]["loc"]))  # the one that the sentence was about


def _remove(tree: RecipeSection, steps: list[int | str]) -> bool:
    """Remove what keys and indices lead to; steps that are no key (pydantic's names of alternatives) are
    passed over.
    """
    here: Any = tree
    holder: Any = None
    last: int | str | None = None
    for step in steps:
        inside = (isinstance(here, dict) and step in here) or (
            isinstance(here, list) and isinstance(step, int) and step < len(here)
        )
        if inside:
            holder, last, here = here, step, here[step]
    if holder is None or last is None:
        return False
    del holder[last]
    return True
