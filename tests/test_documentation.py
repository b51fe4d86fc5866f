"""What the documents say is true: components, verbs, links, Python blocks. The Chinese pages say the same."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from pathlib import Path

import pytest

from lookalike.cli.main import _VERBS
from lookalike.cli.schema import all_registries
from tests.conftest import REPOSITORY

PAGES = [
    REPOSITORY / "README.md",
    REPOSITORY / "README.zh.md",
    REPOSITORY / "CONTRIBUTING.md",
    *sorted((REPOSITORY / "docs").glob("*.md")),
]
TRANSLATED = [REPOSITORY / "README.md", REPOSITORY / "docs" / "from_paddleclas.md"]
"""Pages with a Chinese one beside them, `NAME.zh.md`."""


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


def _pieces(page: Path) -> Iterator[tuple[str, list[str]]]:
    """What a translation keeps, piece by piece: how a heading, list item, table row, paragraph or block of
    code begins, and its code and links; the figures too in a row, and the lines without comments in a block.
    """
    for part in re.split(r"^(```.*?^```)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL):
        if part.startswith("```"):
            yield "```", [re.sub(r"\s*#.*", "", line) for line in part.splitlines()]
            continue
        for piece in filter(str.strip, re.split(r"\n(?=\n|\||- |#)", part)):
            text = piece.strip().replace(".zh.md", ".md")
            kept = re.findall(r"`[^`]+`|\]\([^)]+\)", text)
            figures = re.findall(r"\d+(?:\.\d+)?", re.sub(r"`[^`]+`|\]\([^)]+\)", "", text))
            begin = re.match(r"#+|\||-|", text)
            assert begin is not None
            yield begin.group(), sorted(kept + figures if begin.group() == "|" else kept)


@pytest.mark.parametrize("page", TRANSLATED, ids=lambda page: page.name)
def test_the_chinese_page_keeps_step(page: Path) -> None:
    chinese = page.with_suffix(".zh.md")
    for english_piece, chinese_piece in zip_longest(_pieces(page), _pieces(chinese)):
        assert chinese_piece == english_piece, f"{page.name} was changed and {chinese.name} was not"


@pytest.mark.parametrize("suffix", [".md", ".zh.md"])
def test_measured_figures_are_those_of_the_readme(suffix: str) -> None:
    readme, page = (path.with_suffix(suffix).read_text(encoding="utf-8") for path in TRANSLATED)
    rows = re.findall(r"^\|.*", readme, re.MULTILINE)  # it has one table
    assert rows
    assert [row for row in rows if row not in page] == []


def test_parity_is_told_of_every_recipe() -> None:
    page = (REPOSITORY / "docs" / "deployment.md").read_text(encoding="utf-8")
    (section,) = re.findall(r"^### Parity\n(.*?)^## ", page, re.DOTALL | re.MULTILINE)
    recipes = REPOSITORY / "recipes"
    names = [str(file.relative_to(recipes).with_suffix("")) for file in sorted(recipes.rglob("*.yaml"))]
    assert [name for name in names if f"`{name}`" not in section] == []
