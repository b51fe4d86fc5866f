"""The quickstart: its pictures, and the whole of it in small."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from lookalike.core.errors import UserError
from lookalike.quickstart.marks import brand_marks, draw, draw_pictures
from lookalike.quickstart.run import quickstart


def test_marks_are_many_and_differ() -> None:
    marks = brand_marks()
    assert len(marks) > 300
    assert len({mark.name for mark in marks}) > 0.98 * len(marks)
    small = np.stack(
        [cv2.resize(mark.silhouette, (24, 24), interpolation=cv2.INTER_AREA).ravel() for mark in marks]
    )
    alike = np.corrcoef(small.astype(np.float64)) - np.eye(len(marks))
    assert alike.max() < 0.89


def test_a_mark_is_drawn_anew_each_time_and_repeats_with_its_seed() -> None:
    mark = brand_marks()[3]
    one, other = draw(mark, np.random.default_rng(1), 64), draw(mark, np.random.default_rng(2), 64)
    assert one.shape == (64, 64, 3)
    assert one.dtype == np.uint8
    assert not np.array_equal(one, other)
    assert np.array_equal(one, draw(mark, np.random.default_rng(1), 64))


def test_brands_that_are_scored_are_never_trained_on(tmp_path: Path) -> None:
    drawn = draw_pictures(tmp_path, brands=12, per_train=2, per_query=1, per_gallery=1)
    labels = {
        part: {line.split()[1] for line in (tmp_path / f"{part}.txt").read_text().splitlines()}
        for part in ("train", "query", "gallery")
    }
    assert labels["query"] == labels["gallery"]
    assert not labels["train"] & labels["query"]
    assert (drawn.train_brands, drawn.test_brands) == (9, 3)


def test_whole_quickstart_in_small(tmp_path: Path) -> None:
    folder = tmp_path / "with spaces"
    results = quickstart(folder, ["epochs=1"], brands=32, per_train=4)
    written = json.loads((folder / "results.json").read_text())
    assert {"recall1_before", "recall1_after", "mAP_before", "mAP_after", "seconds", "report"} <= set(written)
    assert written["recall1_after"] == results.recall1_after
    page = Path(written["report"]).read_text()
    assert page.count("data:image/jpeg;base64,") >= 12
    assert "<polyline" in page
    assert "http" not in page.replace("https://www.w3.org", "")  # nothing is loaded from elsewhere
    quickstart(folder, ["epochs=1"], brands=32, per_train=4)  # again, over the old one


def test_files_of_others_are_not_touched(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="holds files that are not the quickstart's"):
        quickstart(tmp_path)
