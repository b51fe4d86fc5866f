"""Thresholds of a model folder: found on the scale of a gallery, kept beside the model, read with care."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lookalike import Embedder, Gallery, ModelFolder
from lookalike.core.errors import UserError
from lookalike.deploy.calibration import calibrate
from lookalike.deploy.thresholds import Bounds, Thresholds, judged, replaced_section
from lookalike.evaluation.feature_files import feature_sets
from lookalike.evaluation.scoring import score_features
from lookalike.images.feature_table import FeatureTable


def table(seed: int = 0, classes: int = 12, each: int = 6, bits: int | None = None) -> FeatureTable:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), each)
    vectors = rng.normal(size=(classes, 16))[labels] + 0.6 * rng.normal(size=(len(labels), 16))
    values: Any = np.packbits(vectors > 0, axis=1) if bits else 7 * vectors.astype(np.float32)
    return FeatureTable(values, [f"{n}.png" for n in range(len(labels))], labels.astype(str), bits=bits)


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained / "inference", tmp_path / "model"))


@pytest.mark.parametrize("binary", [False, True])
def test_what_was_found_is_what_a_gallery_does(
    folder: Path, pictures: Path, tmp_path: Path, binary: bool
) -> None:
    """The rates of the calibration are counted again in the answers of searches."""
    model = Embedder(folder, backend="onnx")  # one runtime for both: similarities here differ by roundings
    model.binarize = "sign" if binary else None
    paths = sorted(str(path) for path in (pictures / "pictures").rglob("*.png"))
    labels = [Path(path).parent.name for path in paths]
    vectors = model.encode(paths)
    enrolled = FeatureTable(vectors, paths, np.array(labels), bits=16 if binary else None)
    found = calibrate(model.fingerprint, enrolled, false_accept_rate=0.1, unsure_rate=0.3, resamples=20)
    gallery = Gallery.create(tmp_path / "g", model)
    gallery.add(paths, labels)
    accepted = right = 0
    for path, label, answers in zip(
        paths, labels, gallery.search_vectors(vectors, k=len(paths)), strict=True
    ):
        others = [each for each in answers if each.path != path]
        wrong = max(each.score for each in others if each.label != label)
        own = max(each.score for each in others if each.label == label)
        accepted += wrong >= found.same.threshold
        right += own >= found.same.threshold and own > wrong
    assert (found.same.false_accepts, found.same.tried) == (accepted, 72)
    assert accepted > 0 or binary
    assert found.same.identification_rate == pytest.approx(right / 72, abs=1e-12)


def test_lists_of_two_kinds_and_files_that_are_in_both() -> None:
    query, gallery = table(1), table(1)  # the very same files
    one, two = calibrate("f", query, resamples=5), calibrate("f", query, gallery, resamples=5)
    assert (two.same, two.unsure) == (one.same, one.unsure)
    assert two.pairs.tried == 2 * one.pairs.tried  # each pair is met from both ends there
    with pytest.raises(UserError, match="two kinds"):
        calibrate("f", query, table(1, bits=16))


def test_cameras_are_left_out() -> None:
    every = table(2)
    copied = FeatureTable(every.vectors, every.paths, every.labels, np.zeros(72, np.int64))
    with pytest.raises(UserError, match="none of the 72 queries"):
        calibrate("f", copied, resamples=5)
    two = FeatureTable(every.vectors, every.paths, every.labels, np.arange(72) % 2)
    fewer, all_of_them = (calibrate("f", each, false_accept_rate=0.1, resamples=5) for each in (two, every))
    assert fewer.same.threshold == all_of_them.same.threshold
    assert fewer.same.identification_rate < all_of_them.same.identification_rate


def test_pictures_of_no_known_class() -> None:
    """Counted by the definition: -1 is right for nothing, and what looks like it is a wrong answer."""
    every = table(3)
    assert every.labels is not None
    labels = np.where(every.labels.astype(int) < 2, -1, every.labels.astype(int))  # 12 of 72, of two classes
    numbers, text = (FeatureTable(every.vectors, every.paths, each) for each in (labels, labels.astype(str)))
    found = calibrate("f", numbers, false_accept_rate=0.1, resamples=5)
    assert found == calibrate("f", text, false_accept_rate=0.1, resamples=5)
    vectors = every.vectors / np.linalg.norm(every.vectors, axis=1, keepdims=True)
    similarity = vectors @ vectors.T
    np.fill_diagonal(similarity, -np.inf)
    right = (labels[:, None] == labels) & (labels >= 0)
    own, wrong = (np.where(which, similarity, -np.inf).max(axis=1) for which in (right, ~right))
    assert (found.validation.classes, found.validation.gallery_classes) == (10, 10)
    assert found.validation.recognised == pytest.approx((own > wrong)[labels >= 0].mean(), abs=1e-12)
    assert (found.same.tried, found.same.false_accepts) == (72, (wrong >= found.same.threshold).sum())
    # two such pictures are often of one thing, and so alike that nothing below may be accepted
    assert found.same.threshold > calibrate("f", every, false_accept_rate=0.1, resamples=5).same.threshold


def test_the_figures_are_those_of_an_evaluation(tmp_path: Path) -> None:
    """The same pictures by other names, and by links, are the same or not by one rule."""
    every = table(1)
    files = [tmp_path / f"{n}.png" for n in range(72)]
    for n, file in enumerate(files):
        file.touch()
        (tmp_path / f"link{n}.png").symlink_to(file)
    query = FeatureTable(every.vectors, [str(file) for file in files], every.labels)
    for spelled in ("x/../{}.png", "link{}.png", "of another {}.png"):
        paths = [str(tmp_path / spelled.format(n)) for n in range(72)]
        gallery = FeatureTable(every.vectors, paths, every.labels)
        found = calibrate("f", query, gallery, resamples=5)
        scored = score_features(*feature_sets(query, gallery))
        assert found.validation.recognised == scored.metrics["recall1"], spelled


def test_cameras_of_one_list_alone_are_told(caplog: pytest.LogCaptureFixture) -> None:
    query, gallery = table(2), table(2)
    with_cameras = FeatureTable(query.vectors, query.paths, query.labels, np.arange(72) % 2)
    calibrate("f", with_cameras, gallery, resamples=5)
    assert "the query set has cameras and the gallery set has none" in caplog.text


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda t: {"labels": np.full(72, -1)}, "all of these 72 are of no known class"),
        (lambda t: {"labels": np.repeat(["x", "-1"], 36)}, "are of 'x' or of no known class"),
        (lambda t: {"labels": None}, "need the label of every picture"),
        (lambda t: {"labels": np.full(72, "x")}, "all of these 72 are of 'x'"),
        (lambda t: {"labels": np.arange(72).astype(str)}, "each of these 72 has one"),
    ],
)
def test_labels_that_do_not_allow_it(change: Callable[[FeatureTable], dict[str, Any]], told: str) -> None:
    every = table()
    with pytest.raises(UserError, match=told):
        calibrate("f", FeatureTable(every.vectors, every.paths, **change(every)))


def test_other_labels_in_the_gallery_and_rates() -> None:
    every = table()
    assert every.labels is not None
    other = FeatureTable(every.vectors, None, np.char.add(every.labels, "!"))
    with pytest.raises(UserError, match="same labels"):
        calibrate("f", every, other)
    for rate, unsure in ((0.0, None), (1.0, None), (0.1, 0.05), (float("nan"), None)):
        with pytest.raises(UserError, match="rates must be above 0"):
            calibrate("f", every, false_accept_rate=rate, unsure_rate=unsure)


def test_what_was_found_is_told() -> None:
    """72 pictures are too few for one in a hundred, and enough for one in ten."""
    found = calibrate("fingerprint", table(classes=24, each=3), resamples=20)
    assert Thresholds.of_json(json.loads(json.dumps(found.to_json())), "fingerprint", "here") == found
    assert (found.same.supported, found.unsure.supported, found.unsure.wanted) == (False, True, 0.1)
    assert [text[:56] for text in found.doubts()] == [
        "A false-accept rate of 1 % needs at least 100 validation"
    ]
    assert "above all of their wrong scores" in "\n".join(found.lines())
    few = calibrate("fingerprint", table(classes=3), resamples=20)
    assert "3 classes are few" in few.doubts()[-1]
    with pytest.raises(UserError, match="made with another model"):
        Thresholds.of_json(found.to_json(), "another", "here")


def test_a_class_that_is_mistaken_for_often_has_its_own_bounds() -> None:
    found = calibrate("f", table(classes=4, each=60), false_accept_rate=0.05, resamples=5)
    assert found.classes
    assert found.class_rates is not None
    assert found.class_rates[0] <= 0.05
    for label, bounds in found.classes.items():
        assert found.of(label) == bounds
        assert bounds.unsure <= bounds.same
    assert found.of("no such class") == found.rest


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda v: [], "format None"),
        (lambda v: v | {"format": 2}, "format 2 is not the format 1"),
        (lambda v: v | {"rest": {"same": "0.5", "unsure": 0.1}}, "damaged: rest.same"),
        (lambda v: v | {"colour": 1}, "damaged: colour"),
        (lambda v: {key: v[key] for key in v if key != "same"}, "damaged: same"),
    ],
)
def test_damage_is_one_sentence(damage: Callable[[Any], Any], told: str) -> None:
    found = calibrate("f", table(), resamples=5)
    with pytest.raises(UserError, match=told) as caught:
        Thresholds.of_json(damage(found.to_json()), "f", "here")
    assert "lookalike calibrate" in str(caught.value)


def test_a_model_folder_keeps_them_and_its_fingerprint(folder: Path) -> None:
    opened = ModelFolder.open(folder)
    assert opened.found_thresholds() is None
    card = (folder / "README.md").read_text() + "\nMy own words.\n"
    (folder / "README.md").write_text(card)
    for seed in (0, 1):
        found = calibrate(opened.fingerprint, table(seed), resamples=5)
        opened.write_thresholds(found)
        assert ModelFolder.open(folder).found_thresholds() == Embedder(folder).thresholds() == found
        text = (folder / "README.md").read_text()
        assert text.startswith(card.rstrip("\n"))
        assert text.count("## Thresholds") == 1
        assert f"| same | {found.same.threshold:.4f} |" in text
    opened.verify()
    opened.write()  # the card is made anew
    assert f"| same | {found.same.threshold:.4f} |" in (folder / "README.md").read_text()
    (folder / "README.md").unlink()
    opened.write_thresholds(found)
    assert (folder / "README.md").read_text().startswith("---\nlibrary_name: lookalike\n")
    (folder / "README.md").write_bytes(b"\xff")
    with pytest.raises(UserError, match="cannot be written into"):
        opened.write_thresholds(found)
    with pytest.raises(UserError, match="holds another model"):
        opened.write_thresholds(calibrate("f", table(), resamples=5))


def test_a_section_is_replaced_where_it_stands() -> None:
    text = "# A\n\n## T\n\nold\n\n## Z\n\nlast\n"
    assert replaced_section(text, "T", ["new"]) == "# A\n\n## T\n\nnew\n\n## Z\n\nlast\n"
    assert replaced_section("# A\n", "T", ["new"]) == "# A\n\n## T\n\nnew\n"
    assert replaced_section("# A\n\n## T\n## Z\n", "T", ["new"]) == "# A\n\n## T\n\nnew\n\n## Z\n"


@pytest.mark.parametrize("other", ["### T", "## T and more", "See `## T`", "## t", "#### T"])
def test_what_is_no_such_section_stays(other: str) -> None:
    text = f"# A\n\n{other}\nby hand\n\n## Z\nlast\n"
    assert replaced_section(text, "T", ["new"]) == f"{text}\n## T\n\nnew\n"


def test_no_answer_is_better_than_those_before_it() -> None:
    bounds = {"strict": Bounds(0.9, 0.7), "lax": Bounds(0.6, 0.5)}
    answers = [("lax", 0.95), ("strict", 0.8), ("lax", 0.75), ("lax", 0.55), ("strict", 0.5), ("lax", 0.5)]
    assert judged(answers, bounds.__getitem__) == ["same", "unsure", "unsure", "unsure", "unknown", "unknown"]
    assert judged([("strict", 0.9), ("strict", 0.7)], bounds.__getitem__) == [
        "same",
        "unsure",
    ]  # at the bound
