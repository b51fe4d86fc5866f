"""YAML into sections in which every value knows its file, line and path.

The YAML is what PyYAML's safe loader takes (version 1.1: `on`, `off`, `yes` and `no` are booleans), with
three differences:

- `1e-3` and `1.0e10` are floats, as people mean them.
- Dates stay strings.
- The reference applies Python's `literal_eval` to strings that stand directly in a mapping. Here a string
  in a mapping that is written as `None`, `True` or `False`, or in brackets as `[…]`, `(…)`, is read as
  that literal, a tuple as a list. Quoted numbers stay strings: whoever reads a number takes `"0.5"` as
  well. Nothing is ever evaluated.

A key written twice in one mapping is an error, as are tags that name objects, nesting without end, and
aliases that multiply into more values than a recipe can have.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import yaml

from lookalike.core.component import Place
from lookalike.core.errors import UserError
from lookalike.core.files import not_text
from lookalike.recipe.tree import RecipeList, RecipeSection

MAX_VALUES = 200_000
MAX_DEPTH = 60
MAX_BYTES = 4_000_000
_LONGEST_LITERAL = 2_000


class _Loader(yaml.SafeLoader):
    """Safe, with scientific numbers without a point, and without dates."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)[eE][-+]?[0-9]+$"),
    list("-+0123456789."),
)

_SCALARS = {f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str")}
_MERGE = "tag:yaml.org,2002:merge"


def read_file(path: str | Path) -> RecipeSection:
    """Read a YAML file. Raises UserError for one that is missing, is not YAML, or holds no mapping."""
    path = Path(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise UserError(f"{path}: is a folder, not a YAML file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
    if len(content) > MAX_BYTES:
        raise UserError(f"{path}: {len(content)} bytes are too many for a recipe; is it the right file?")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise not_text(path, error.reason) from None
    return read_text(text, str(path))


def read_text(text: str, file: str | None = None) -> RecipeSection:
    """Read YAML text whose top is a mapping."""
    value = read_value(text, Place(file=file, line=1 if file else None))
    if value is None:
        raise UserError(f"{file or 'YAML text'}: is empty")
    if not isinstance(value, RecipeSection):
        raise UserError(
            f"{file or 'YAML text'}: must hold sections such as 'Global:' at its top, got {value!r:.60}"
        )
    return value


def read_value(text: str, place: Place) -> Any:
    """Read any YAML value, as if it stood at `place`."""
    file = place.file or "YAML text"
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            return None if node is None else _Builder(loader, place, file).build(node, place)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{file}:{mark.line + 1}:{mark.column + 1}" if mark else file
        what = ", ".join(part for part in (error.context, error.problem) if part)
        raise UserError(f"{where}: not valid YAML: {what}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{file}: not valid YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise UserError(f"{file}: is nested too deeply for a recipe") from None


class _Builder:
    """Turns the nodes of one document into sections; an alias anew for each use, so that each has its own
    path."""

    def __init__(self, loader: _Loader, place: Place, shown: str) -> None:
        self.loader = loader
        self.has_lines = place.line is not None
        self.shown = shown
        self.count = 0
        self.open: list[yaml.Node] = []

    def build(self, node: yaml.Node, place: Place, in_mapping: bool = False) -> Any:
        self._count()
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, in_mapping)
        if any(node is outer for outer in self.open):
            raise self._error(node, "an alias stands inside its own anchor")
        if len(self.open) >= MAX_DEPTH:
            raise self._error(node, f"is nested more than {MAX_DEPTH} levels deep")
        self.open.append(node)
        try:
            if isinstance(node, yaml.MappingNode):
                self._tag(node, "map")
                return self._mapping(node, place)
            self._tag(node, "seq")
            return self._sequence(node, place)
        finally:
            self.open.pop()

    def _line(self, node: yaml.Node) -> int:
        """The line of a node in the file, 0 where the text is no file."""
        return node.start_mark.line + 1 if self.has_lines else 0

    def _count(self, values: int = 1) -> None:
        self.count += values
        if self.count > MAX_VALUES:
            raise UserError(f"{self.shown}: aliases expand to more than {MAX_VALUES} values")

    def _mapping(self, node: yaml.MappingNode, place: Place) -> RecipeSection:
        section = RecipeSection(place=place)
        for key, (key_node, value_node) in self._entries(node).items():
            section.lines[key] = self._line(key_node)
            where = place.at(key, section.lines[key])
            if value_node.start_mark.line < key_node.start_mark.line:  # an alias
                where = Place(where.path, where.file, self._line(value_node) or None)
            section[key] = self.build(value_node, where, in_mapping=True)
        return section

    def _sequence(self, node: yaml.Node, place: Place) -> RecipeList:
        entries = RecipeList(place=place)
        for index, value_node in enumerate(node.value):
            entries.lines.append(self._line(value_node))
            entries.append(self.build(value_node, place.at(index, entries.lines[index])))
        return entries

    def _entries(self, node: yaml.MappingNode) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        """The entries of a mapping with those merged in by `<<`: own keys win, then what is merged first."""
        own: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        merged: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key_node, value_node in node.value:
            if key_node.tag == _MERGE:
                for source in value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]:
                    for key, entry in self._merged(source).items():
                        merged.setdefault(key, entry)
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                raise self._error(key_node, "a key must be a plain word")
            if key_node.value in own:
                first = own[key_node.value][0].start_mark.line + 1
                raise self._error(
                    key_node, f"the key '{key_node.value}' stands here twice (first in line {first})"
                )
            own[key_node.value] = (key_node, value_node)
        return {**merged, **own}

    def _merged(self, source: yaml.Node) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        if not isinstance(source, yaml.MappingNode):
            raise self._error(source, "'<<' merges mappings only")
        if any(source is outer for outer in self.open) or len(self.open) >= MAX_DEPTH:
            raise self._error(source, "an alias stands inside its own anchor")
        self._count(len(source.value))
        self.open.append(source)
        try:
            return self._entries(source)
        finally:
            self.open.pop()

    def _scalar(self, node: yaml.ScalarNode, in_mapping: bool) -> Any:
        if node.tag not in _SCALARS:
            raise self._error(node, f"the tag '{node.tag}' is not allowed; a recipe holds plain values only")
        if node.tag == "tag:yaml.org,2002:str":
            return python_literal(node.value) if in_mapping else node.value
        try:
            if node.tag == "tag:yaml.org,2002:float" and "e" in node.value.lower():
                return float(node.value.replace("_", ""))
            return self.loader.construct_object(node)
        except (ValueError, OverflowError, KeyError, IndexError):
            raise self._error(node, f"'{node.value:.60}' is not a {node.tag.rpartition(':')[2]}") from None

    def _tag(self, node: yaml.Node, expected: str) -> None:
        if node.tag != f"tag:yaml.org,2002:{expected}":
            raise self._error(node, f"the tag '{node.tag}' is not allowed; a recipe holds plain values only")

    def _error(self, node: yaml.Node, what: str) -> UserError:
        mark = node.start_mark
        return UserError(f"{self.shown}:{mark.line + 1}:{mark.column + 1}: {what}")


def python_literal(text: str) -> Any:
    """The value of a text written as None, True, False, or `[…]`, `(…)` of literals; other texts as they
    are."""
    stripped = text.strip()
    if stripped in ("None", "True", "False"):
        return {"None": None, "True": True, "False": False}[stripped]
    if stripped[:1] + stripped[-1:] not in ("[]", "()") or len(stripped) > _LONGEST_LITERAL:
        return text
    try:
        return _only_plain(ast.literal_eval(stripped))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text


def _only_plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_only_plain(entry) for entry in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise ValueError(f"{value!r} is not a plain value")
