"""Every number of the golden set is compared with by a test, or is listed here with the reason why not."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.golden import golden

NOT_COMPARED: dict[str, dict[str, str]] = {}
"""Cases of a file that no test compares with, each with the reason."""

NOT_CASES = {
    "transforms": {"images": "the pictures that all cases of the file read"},
    "transforms_random": {"images": "the pictures that all cases of the file read"},
}
"""First parts of array names that are no case: what they are."""

NO_CASES = {
    "timings": "how fast the reference was on its machine; benchmarks/training_speed.py has it beside ours",
}
"""Files without cases: what reads them."""


def files() -> list[str]:
    return sorted(path.stem for path in golden.FOLDER.glob("*.json")) if golden.present() else []


def compared() -> dict[str, set[str]]:
    """Cases by file that the tests beside this one are parametrised with."""
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        importlib.import_module(f"tests.golden.{path.stem}")
    return golden.COMPARED


@pytest.mark.parametrize("name", files())
def test_every_case_is_compared_with(name: str) -> None:
    listed = {case["id"] for case in golden.content(f"{name}.json").get("cases", [])}
    if not listed:
        assert name in NO_CASES
        return
    excused = set(NOT_COMPARED.get(name, {}))
    left_out = listed - compared().get(name, set())
    assert left_out == excused & listed, sorted(left_out ^ (excused & listed))


@pytest.mark.parametrize("name", files())
def test_every_array_belongs_to_a_case(name: str) -> None:
    if name in NO_CASES:
        return
    listed = {case["id"] for case in golden.cases(name)} | set(NOT_CASES.get(name, {}))
    first_parts = {array.split("/")[0] for array in golden.arrays(name).files}
    assert first_parts <= listed, sorted(first_parts - listed)


def test_what_is_not_compared_is_in_the_documents() -> None:
    page = (REPOSITORY / "docs" / "from_paddleclas.md").read_text(encoding="utf-8")
    section = page.partition("## Numbers of the reference that no test compares with")[2]
    table = set(re.findall(r"^\| (\w+) \| `(\w+)` \|", section, re.MULTILINE))
    assert table == {(name, case) for name, cases in NOT_COMPARED.items() for case in cases}
