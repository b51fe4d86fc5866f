"""The blocks of docs/retrieval.md run, one after the other, and print what stands beside them."""

from __future__ import annotations

import contextlib
import io
import re
from typing import Any

from lookalike.retrieval import METRICS
from lookalike.retrieval.rates import RATES
from tests.conftest import REPOSITORY

PAGE = (REPOSITORY / "docs" / "retrieval.md").read_text(encoding="utf-8")


def test_blocks_print_what_the_page_says() -> None:
    names: dict[str, Any] = {}
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert blocks
    for block in blocks:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(block, "docs/retrieval.md", "exec"), names)
        told = re.findall(r"^ *print\(.*\) +# (.*)$", block, re.MULTILINE)
        assert printed.getvalue().splitlines() == told


def test_every_figure_is_in_the_table() -> None:
    named = set(re.findall(r"^\| `([^`]+)`", PAGE, re.MULTILINE))
    assert {f"{kind}@FAR=f" for kind in RATES} <= named
    assert {f"{name}k" if name.endswith("@") else name for name in METRICS} <= named
