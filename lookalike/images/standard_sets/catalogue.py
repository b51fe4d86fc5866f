"""The published sets that `lookalike data prepare` knows, by name."""

from __future__ import annotations

from lookalike.core.errors import UserError, did_you_mean
from lookalike.images.standard_sets.further_sets import FURTHER_SETS
from lookalike.images.standard_sets.recipe_sets import RECIPE_SETS
from lookalike.images.standard_sets.standard_set import StandardSet

standard_sets = {each.name: each for each in (*RECIPE_SETS, *FURTHER_SETS)}


def standard_set(name: str) -> StandardSet:
    """The set of this name, however it is spelt. Raises UserError with the nearest name."""

    def plain(text: str) -> str:
        return "".join(letter for letter in text.lower() if letter.isalnum())

    for each in standard_sets.values():
        if plain(name) in (plain(each.name), plain(each.title)):
            return each
    raise UserError(
        f"there is no set '{name}'{did_you_mean(name.lower(), standard_sets)} "
        f"(known: {', '.join(standard_sets)})"
    )
