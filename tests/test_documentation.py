"""What the documents say is true: components, verbs, links, Python blocks."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from lookalike.cli.main import _VERBS
from lookalike.cli.schema import all_registries
from tests.conftest import REPOSITORY

PAGES = [
    REPOSITORY / "README.md",
    REPOSITORY / "CONTRIBUTING.md",
    *sorted((REPOSITORY / "docs").glob("*.md")),
]


def _components() -> Iterable[tuple[str, str]]:
    for kind, registries in all_registries().items():
        if kind in ("loader", "dataset_option"):
            continue
        for registry in registries if isinstance(registries, list) else [registries]:
            for entry in registry:
                yield kind, entry.name


def test_every_component_has_its_line() -> None:
    page = (REPOSITORY / "docs" / "components.md").read_text(encoding="utf-8")
    missing = [f"{kind} {name}" for kind, name in _components() if f"`{name}`" not in page]
    assert missing == []


def test_every_verb_is_in_the_documents() -> None:
    page = (REPOSITORY / "docs" / "index.md").read_text(encoding="utf-8")
    assert [verb for verb in _VERBS if f"lookalike {verb}" not in page] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_inside_the_repository_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_blocks_are_python(page: Path) -> None:
    for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        ast.parse(block)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_nothing_is_left_to_fill_in(page: Path) -> None:
    assert not re.search(r"@[A-Z]{3,}@", page.read_text(encoding="utf-8"))
