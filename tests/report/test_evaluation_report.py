"""The report of an evaluation: whole, honest, and not broken by what is in it."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from lookalike.core.errors import UserError
from lookalike.evaluation import Evaluation, FeatureSet, score_features
from lookalike.evaluation.loader import LeftOut
from lookalike.evaluation.metrics import metrics_named
from lookalike.report import ANSWERS, Mark, write_evaluation_report
from lookalike.report import class_table as class_table_module
from lookalike.report.class_table import class_table
from lookalike.report.confusion import confusions
from lookalike.report.dataset_facts import spans
from lookalike.report.histogram import binned
from lookalike.report.thumbnails import SIDE, Thumbnails
from lookalike.report.view import NO_CLASS, View
from lookalike.report.worst_queries import chosen_queries

EVIL = "<script>alert('1')</script>"
VOID = {"meta", "img", "br", "input", "line", "circle", "rect", "polyline", "polygon"}


class Page(HTMLParser):
    """A page that was read to its end: every tag is closed by its own."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.open):
            self.text += data

    def count(self, tag: str, kind: str | None = None) -> int:
        return sum(name == tag and kind in (None, values.get("class")) for name, values in self.tags)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty pictures, the first of which is no picture, and the second of which is gone."""
    root = tmp_path_factory.mktemp('it\'s "quoted" & <b>')
    for row in range(40):
        pixels = np.full((200, 300, 3), 6 * row, np.uint8)
        cv2.imwrite(str(root / f"{row}.png"), pixels)
    (root / "0.png").write_bytes(b"no picture")
    (root / "1.png").unlink()
    return root


def features(folder: Path | None, labels: list[str], seed: int = 0) -> FeatureSet:
    """Vectors of forty pictures that lie near those of their class, with some mistakes."""
    generator = np.random.default_rng(seed)
    classes = np.unique(labels, return_inverse=True)[1]
    vectors = np.eye(16)[classes] + 0.35 * generator.normal(size=(len(labels), 16))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    paths = None if folder is None else [str(folder / f"{row}.png") for row in range(len(labels))]
    return FeatureSet(vectors.astype(np.float32), np.array(labels), None, np.arange(len(labels)), paths)


LABELS = [*([EVIL] * 10), *(["apple & pear"] * 10), *(["quince"] * 10), *(["fig"] * 9), "alone"]


@pytest.fixture(scope="module")
def evaluation(folder: Path) -> Evaluation:
    found = score_features(
        features(folder, LABELS),
        None,
        metrics_named(["recall@1", "mAP", "first_hit_rank"]),
        top_k=ANSWERS,
        pairs=True,
    )
    return replace(found, broken=[LeftOut(f"{folder}/{EVIL}.png", "the file is empty", "list.txt:3")])


def test_the_page_is_whole_and_tells_everything(evaluation: Evaluation, tmp_path: Path) -> None:
    worst = chosen_queries(View.of(evaluation))[0]
    paths = list(evaluation.query_set.paths)
    paths[worst] = "gone'>.png"
    pictures = replace(evaluation.query_set, paths=paths)
    evaluation = replace(evaluation, query_set=pictures, gallery_set=pictures)
    scored = [("weights", "a/'b'<c>.pdparams"), ("queries", "\udce9.txt")]
    write_evaluation_report(tmp_path / "r.html", evaluation, scored, [Mark("same", 0.71)])
    page = Page(tmp_path / "r.html")
    assert "alert('1')" in page.text  # as text, and not as a tag
    assert page.count("script") == 1
    right = int(np.sum(evaluation.result.first_hit_rank == 1))
    assert f"for {right} of them" in page.text
    low, high = evaluation.result.interval("recall@1")
    assert f"between {100 * low:.1f} % and {100 * high:.1f} %" in page.text
    assert "One query has no match" in page.text
    assert "a/'b'<c>.pdparams" in page.text
    assert "?.txt" in page.text
    assert "could not be shown" in page.text
    assert "gone'>.png" in page.text
    assert "the file is empty" in page.text
    assert "same: 0.71" in page.text
    threshold = evaluation.result.pairs.threshold_at(0.1)
    assert f"{threshold:.3f}" in page.text
    outside = re.findall(r"(?:src|href)='(?!data:|#)[^']*'|url\((?!#)", page.source)
    assert outside == []
    assert len(page.source) < 500_000


def test_marks_are_right(evaluation: Evaluation, tmp_path: Path) -> None:
    write_evaluation_report(tmp_path / "r.html", evaluation)
    page = Page(tmp_path / "r.html")
    view = View.of(evaluation)
    rows = [row for row in chosen_queries(view) if view.result.first_hit_rank[row] > 1]
    assert rows
    ranks = view.result.first_hit_rank[rows]
    assert (np.diff(ranks) <= 0).all()
    expected = sum(int(view.hits[row, :5].sum()) + int(not view.hits[row, :5].any()) for row in rows)
    assert page.count("figure", "right") == expected
    assert page.text.count("✓") == expected


def test_confusions_count_the_nearest_wrong_answers(evaluation: Evaluation) -> None:
    view = View.of(evaluation)
    similarities = view.query.features @ view.query.features.T
    np.fill_diagonal(similarities, -np.inf)
    nearest = similarities.argmax(axis=1)
    wrong = {
        (row, view.query_class(row), view.query_class(int(nearest[row])))
        for row in range(39)  # the last one has no match
        if LABELS[row] != LABELS[nearest[row]]
    }
    found = confusions(view)
    assert {
        (row, pair.names[side], pair.names[1 - side])
        for pair in found
        for side in (0, 1)
        for row in pair.rows[side]
    } == wrong
    assert [pair.count for pair in found] == sorted((pair.count for pair in found), reverse=True)


def test_without_files_there_are_no_pictures(tmp_path: Path) -> None:
    found = score_features(features(None, LABELS), top_k=5)
    write_evaluation_report(tmp_path / "r.html", found)
    page = Page(tmp_path / "r.html")
    assert page.count("img") == 0
    assert "row 3" in page.text or "row 1" in page.text
    assert "could not be shown" not in page.text
    assert "How alike" not in page.text  # the pairs were not counted


def test_one_class_that_is_always_found(tmp_path: Path) -> None:
    vectors = FeatureSet(np.ones((3, 2)), np.array([4, 4, 4]), None, np.arange(3), None)
    write_evaluation_report(tmp_path / "r.html", score_features(vectors, top_k=ANSWERS, pairs=True))
    text = Page(tmp_path / "r.html").text
    assert "Every query found a right picture first" in text
    assert "None: the nearest picture" in text


def test_codes_and_distractors(tmp_path: Path) -> None:
    codes = np.random.default_rng(0).integers(0, 2, (40, 24)).astype(np.float32)
    labels = np.repeat(np.arange(8), 5)
    query = FeatureSet(codes, labels, None, np.arange(40), None, binary=True)
    gallery = replace(query, features=codes[::-1].copy(), distractors=labels == 3)
    found = score_features(query, gallery, top_k=ANSWERS, pairs=True)
    write_evaluation_report(tmp_path / "r.html", found)
    text = Page(tmp_path / "r.html").text
    assert "share of equal bits" in text
    assert "5 queries have no match" in text
    assert "5 gallery pictures of no known class" in text
    view = View.of(found)
    equal = (codes[0] == gallery.features[found.top_k.indices[0, 0]]).mean()
    assert view.similarity(found.top_k.similarities[0, 0]) == pytest.approx(equal)
    assert any(NO_CLASS in pair.names for pair in confusions(view))


def test_numbers_are_named_by_folders_that_are_theirs_alone() -> None:
    labels = np.array([0, 0, 1, 1])
    paths = ["a/Apple/1.jpg", "a/Apple/2.jpg", "a/Fig/1.jpg", "a/Fig/2.jpg"]
    found = FeatureSet(np.eye(4), labels, None, np.arange(4), paths)
    assert View.of(score_features(found, top_k=1)).query_class(2) == "Fig"
    mixed = replace(found, paths=[*paths[:3], "a/Apple/3.jpg"])
    assert View.of(score_features(mixed, top_k=1)).query_class(2) == "1"


def test_bins_hold_every_pair(evaluation: Evaluation) -> None:
    view = View.of(evaluation)
    edges, same, other = binned(view, view.result.pairs)
    assert len(edges) == len(same) + 1 <= 60
    assert (same.sum(), other.sum()) == pytest.approx((1, 1))
    similarities = view.query.features @ view.query.features.T
    pairs = similarities[np.triu_indices(40, 1)]
    assert edges[0] <= pairs.min()
    assert pairs.max() <= edges[-1]
    label = np.array(LABELS)
    own = pairs[(label[:, None] == label)[np.triu_indices(40, 1)]]
    # bins of the engine are 2^-14 wide, and may fall on the other side of an edge
    np.testing.assert_allclose(same, np.histogram(own, edges)[0] / len(own), atol=1.5 / len(own))


def test_a_long_table_is_cut_and_says_so(evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(class_table_module, "ROWS", 2)
    view = View.of(evaluation)
    table = class_table(view)
    assert "2 of 5 classes are shown" in table
    assert table.count("<th scope='row'>") == 2
    monkeypatch.setattr(class_table_module, "ROWS", 1000)
    table = class_table(view)
    assert "are shown" not in table
    names = re.findall(r"<th scope='row'>(.*?)</th>", table)
    assert names[-1] == "alone"  # no figure: last, not worst
    rows = re.findall(r"<tr>(<th scope='row'>.*?)</tr>", table)
    keys = [re.findall(r"data-v='(.*?)'", row)[3] for row in rows]
    assert keys[-1] == ""
    recalls = [float(each) for each in keys[:-1]]
    assert recalls[0] < recalls[-1]
    assert recalls == sorted(recalls)


def test_thumbnails_are_small_and_read_once(folder: Path) -> None:
    pictures = Thumbnails()
    found = features(folder, LABELS)
    first = pictures.figure(found, 5, "x")
    encoded = first.split("base64,")[1].split("'")[0]
    decoded = cv2.imdecode(np.frombuffer(base64.b64decode(encoded), np.uint8), cv2.IMREAD_COLOR)
    assert decoded.shape == (SIDE * 2 // 3, SIDE, 3)
    assert abs(int(decoded[5, 5, 0]) - 30) <= 2
    assert "picture missing" in pictures.figure(found, 0, "x")
    assert "picture missing" in pictures.figure(found, 1, "x")
    pictures.figure(found, 1, "x")
    assert len(pictures.missing) == 2
    assert "2 pictures could not be shown" in pictures.note()


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([1, 1, 1], [("1", 3)]),
        ([1, 4, 12], [("1", 1), ("2", 0), ("3–5", 1), ("6–10", 0), ("11–20", 1)]),
        ([1000], [("501–1,000", 1)]),
    ],
)
def test_spans(counts: list[int], expected: list[tuple[str, int]]) -> None:
    assert spans(np.array(counts)) == expected


def test_what_is_lacking_is_said(evaluation: Evaluation, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="keep_features"):
        View.of(replace(evaluation, query_set=None))
    with pytest.raises(ValueError, match="top_k"):
        View.of(replace(evaluation, top_k=None))
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        write_evaluation_report(tmp_path / "file" / "r.html", evaluation)
