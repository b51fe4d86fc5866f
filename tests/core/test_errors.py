"""What is told of errors that libraries raise."""

from __future__ import annotations

import pytest

from lookalike.core.errors import LookalikeError, line_of


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [("", "ValueError", "ValueError"), (" \n\n", "ValueError", "ValueError"), ("\n a \nb\n c\n\n", "a", "c")],
)
def test_one_line_of_an_error(text: str, first: str, last: str) -> None:
    error = ValueError(text)
    assert (line_of(error), line_of(error, last=True)) == (first, last)


def test_an_exporter_that_gives_no_reason_is_told_by_its_kind() -> None:
    from lookalike.deploy.export.graph import _quiet

    with (
        pytest.raises(LookalikeError, match="could not be exported to ONNX: AssertionError"),
        _quiet("to ONNX"),
    ):
        raise AssertionError
