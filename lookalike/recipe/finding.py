"""Recipes that come with the package, found by name: `product/sop`."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from lookalike.core.errors import UserError

_SUFFIXES = (".yaml", ".yml")
_ADDRESS = re.compile(r",? ?https?://[^\s),]+")
_SENTENCE_END = re.compile(r"[.:;](?=\s|$)")


def shipped_folder() -> Path:
    """Where the shipped recipes are: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "recipes", package.parent / "recipes"):
        if folder.is_dir():
            return folder
    raise UserError("the recipes that come with lookalike are missing; install the package again")


def list_recipes() -> list[str]:
    """Names of the shipped recipes, such as `product/sop`, sorted."""
    folder = shipped_folder()
    return sorted(
        path.relative_to(folder).with_suffix("").as_posix()
        for path in folder.rglob("*")
        if path.suffix in _SUFFIXES
    )


def describe_recipe(name: str) -> str:
    """What the comment at the head of a shipped recipe says first, up to a colon, semicolon or full stop.

    Web addresses are left out, and with them brackets that held nothing else. Empty for a recipe that begins
    without a comment.
    """
    told: list[str] = []
    with open(find_recipe(name), encoding="utf-8") as file:
        for line in file:
            if not line.startswith("#"):
                break
            words = line.lstrip("#").strip()
            if words.startswith("yaml-language-server"):
                continue
            if not words and told:
                break
            told.append(words)
    text = _ADDRESS.sub("", " ".join(told).strip()).replace(" ()", "")
    end = _SENTENCE_END.search(text)
    return text[: end.start()] if end else text


def find_recipe(path_or_name: str | Path) -> Path:
    """The file of a recipe: a path that exists, or the name of a shipped recipe.

    Raises UserError that names the nearest shipped recipes for anything else.
    """
    path = Path(path_or_name)
    if path.is_file():
        return path
    if path.is_dir():
        raise UserError(f"{path}: is a folder; name a YAML file in it")
    name = path.with_suffix("").as_posix() if path.suffix in _SUFFIXES else path.as_posix()
    names = list_recipes()
    if name in names:
        folder = shipped_folder()
        file = next(file for suffix in _SUFFIXES if (file := folder / f"{name}{suffix}").is_file())
        # messages name the file as a person in this folder would
        return file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file
    raise UserError(f"{path_or_name}: no such file and no shipped recipe{_nearest(name, names)}")


def _nearest(name: str, names: list[str]) -> str:
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    word = name.rpartition("/")[2].lower()
    near += [known for known in names if known not in near and word and word in known.lower()][:3]
    if near:
        return f", did you mean {' or '.join(repr(known) for known in near[:3])}?"
    return f" (lookalike recipe list shows those {len(names)})"
