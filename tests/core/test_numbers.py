"""Numbers as recipes write them are parsed and never run."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookalike.core.numbers import parse_number


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1.0/255.0", 1 / 255),
        ("1e-4", 1e-4),
        ("1.e-4", 1e-4),
        (" 3 ", 3.0),
        ("-(2 + 3) * 4", -20.0),
        ("+1", 1.0),
        ("0.1*128/256", 0.05),
        ("1_000", 1000.0),
    ],
)
def test_values(text: str, value: float) -> None:
    assert parse_number(text) == pytest.approx(value)


@pytest.mark.parametrize(
    "text",
    [
        "", "x", "1 +", "__import__('os').system('true')", "(1).__class__", "[1]", "1 if 1 else 2", "'1'",
        "True", "None", "2**999999999", "1 << 99", "1/0", "lambda: 1", "1, 2", "1;2", "1j", "abs(1)",
        "f'{1}'", "1 < 2", "(" * 99 + "1" + ")" * 98, "1" * 201, "9" * 199 + "**9", "nan()",
        "1\n2", "a.b", "1 // 2", "7 % 3", "\x00", "1e999", "-1e400/2", "1e308 * 10", "1e999 - 1e999",
    ],
)  # fmt: skip
def test_anything_else_is_no_number(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_number(text)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_float_comes_back(value: float) -> None:
    assert parse_number(repr(value)) == value


@given(st.text(max_size=60))
def test_text_is_a_number_or_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert isinstance(parse_number(text), float)
