"""Reading a recipe from a file or from the shipped ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lookalike.recipe.finding import find_recipe
from lookalike.recipe.reading import read_file
from lookalike.recipe.recipe import Recipe


def load_recipe(path_or_name: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe, lay the overrides (`key=value`) over it, and check it.

    `path_or_name` is a YAML file or the name of a shipped recipe such as `product/sop`. Deployment files
    of the reference (`inference_rec.yaml`) are recipes without `Arch` and `DataLoader`. Raises UserError
    that names file, line and path of what is wrong.
    """
    path = find_recipe(path_or_name)
    return Recipe.from_dict(read_file(path), overrides, name=str(path))
