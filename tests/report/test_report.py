"""The parts of a page."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from lookalike.gallery import Answer
from lookalike.report import Found, curve, retrieval_sheet, table, write_page


class _Balanced(HTMLParser):
    """Fails on a tag that closes what is not open."""

    VOID = ("meta", "img", "line", "polyline", "br")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_page_is_whole_and_escapes_names(tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    cv2.imwrite(str(picture), np.zeros((4, 4, 3), np.uint8))
    answers = [Answer("<b>apple", 0.93, str(picture), 1), Answer("pear", 0.4, str(picture), 2)]
    parts = [
        table(["a", "b"], [["<i>", "1"], ["x", "2"]], strong=1),
        curve({"loss": [(1, 3.0), (2, 1.5)], "mAP": [(1, 0.2), (2, 0.7)]}, "epoch"),
        retrieval_sheet([Found(str(picture), "<b>apple", answers)]),
    ]
    write_page(tmp_path / "page.html", "A & B", parts)
    page = (tmp_path / "page.html").read_text()
    parser = _Balanced()
    parser.feed(page)
    assert parser.open == []
    assert "<b>apple" not in page
    assert page.count("class='right'") == 1
    assert page.count("class='wrong'") == 1
    assert "A &amp; B" in page


@pytest.mark.parametrize("value", [0.003, 0.7, 12.3, 6500.0])
def test_the_axis_holds_the_highest_point(value: float) -> None:
    drawn = curve({"line": [(0, 0.0), (1, value)]}, "x")
    ys = [float(pair.split(",")[1]) for pair in drawn.split("points='")[1].split("'")[0].split()]
    assert 0 <= min(ys) < 140  # the highest point uses the upper half of the picture
    assert max(ys) <= 230


def test_nothing_to_draw_is_said() -> None:
    with pytest.raises(ValueError, match="nothing to draw"):
        curve({"line": []}, "x")
