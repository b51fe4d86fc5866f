"""calibrate, and the verdicts of search."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Command


@pytest.fixture
def model(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained / "inference", tmp_path / "model"))


def stored_in(model: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((model / "lookalike.json").read_text(encoding="utf-8"))["thresholds"]
    return found


def test_calibrate_then_search(command: Command, model: Path, pictures: Path, tmp_path: Path) -> None:
    root = pictures / "pictures"
    words = ("calibrate", model, root, "--false-accept-rate", "0.05")
    tried = command(*words, "--dry-run", "--json").json()
    assert not tried["stored"]
    assert stored_in(model) == {}
    told = command(*words)
    assert told.code == 0, told.err
    lines = told.out.splitlines()
    assert lines[0].startswith("72 pictures of 9 classes, searched among 72 of 9;")
    assert [line.split()[0] for line in lines[3:6]] == ["same", "unsure", "unknown"]
    assert lines[3].split()[1] == f"{tried['same']['threshold']:.4f}"
    assert f"stored in {model}" in lines[-1]
    assert "9 classes are few" in told.err
    stored = stored_in(model)
    assert stored == {key: value for key, value in tried.items() if key != "stored"}

    page = tmp_path / "report.html"
    assert command("eval", "--model", model, "--query", root, "--report", page).code == 0
    threshold = f"{tried['same']['threshold']:.3f}"
    assert f"<strong>same</strong> from {threshold} on" in page.read_text(encoding="utf-8")

    gallery = tmp_path / "g"
    enrolled = [root / f"class {number}" for number in range(8)]
    assert command("gallery", "create", gallery, "--model", model, *enrolled).code == 0
    known, unknown = root / "class 3" / "0.png", root / "class 8" / "0.png"
    for path, answers in (
        (each["query"], each["answers"])
        for each in command("search", gallery, known, unknown, "-k", "8", "--json").json()["results"]
    ):
        worst = "same"
        for each in answers:
            bounds = stored["classes"].get(each["label"], stored["rest"])
            better = (each["score"] >= bounds["unsure"]) + (each["score"] >= bounds["same"])
            worst = min(worst, ["unknown", "unsure", "same"][better], key=["unknown", "unsure", "same"].index)
            assert each["verdict"] == worst
        if path == str(known):
            itself = answers[0]
    line = command("search", gallery, known, "-k", "1").out.splitlines()[1]
    assert itself["score"] == 1
    assert line == f"  1.0000  {itself['verdict']:7}  class 3  {known}"

    score = command("search", gallery, unknown, "-k", "1", "--json").json()["results"][0]["answers"][0][
        "score"
    ]
    for threshold, verdict in ((score - 1e-4, "same"), (score + 1e-4, "unknown")):
        found = command("search", gallery, unknown, "--threshold", str(threshold), "--json").json()
        assert found["results"][0]["answers"][0]["verdict"] == verdict
    found = command("search", gallery, unknown, "--min-score", str(score + 1e-4), "--json").json()
    assert found["results"][0]["answers"] == []
    assert "--threshold is nan" in command("search", gallery, unknown, "--threshold", "nan").sentence()

    stored["fingerprint"] = "0" * 64
    manifest = json.loads((model / "lookalike.json").read_text(encoding="utf-8"))
    (model / "lookalike.json").write_text(json.dumps(manifest | {"thresholds": stored}), encoding="utf-8")
    assert "made with another model" in command("search", gallery, known).sentence()
    assert command("search", gallery, known, "--threshold", "0.5").code == 0  # they are not asked for


def test_a_worse_calibration_does_not_replace_a_better_one(
    command: Command, model: Path, pictures: Path
) -> None:
    root = pictures / "pictures"
    rate = ("--false-accept-rate", "0.2")
    assert command("calibrate", model, root, *rate).code == 0
    assert command("calibrate", model, root, *rate).code == 0  # as good
    good = stored_in(model)
    two = ("calibrate", model, root / "class 1", root / "class 2", *rate)
    told = command(*two).sentence()
    assert "found with 9 classes, and these stand on 2 classes: nothing was written" in told
    assert "--force" in told
    told = command("calibrate", model, root, "--false-accept-rate", "0.001").sentence()
    assert "9 classes, and these stand on 9 classes, too few pictures for a rate of 0.1 %" in told
    assert stored_in(model) == good
    assert command(*two, "--dry-run").code == 0  # writes nothing, so there is nothing to refuse
    forced = command(*two, "--force")
    assert forced.code == 0
    assert "(in brackets: 95 % intervals, over classes)" in forced.out
    card = (model / "README.md").read_text(encoding="utf-8")
    for once in (forced.out + forced.err, card):
        assert once.count("2 classes are few") == once.count("not to be trusted") == 1
    assert stored_in(model)["validation"]["classes"] == 2

    damaged = json.loads((model / "lookalike.json").read_text(encoding="utf-8"))
    damaged["thresholds"]["validation"]["classes"] = "many"
    (model / "lookalike.json").write_text(json.dumps(damaged), encoding="utf-8")
    assert command(*two).code == 0
    assert stored_in(model)["validation"]["classes"] == 2


def test_a_list_means_to_calibrate_what_it_means_to_eval(
    command: Command, model: Path, pictures: Path, tmp_path: Path
) -> None:
    """The label -1 is that of no class."""
    file = tmp_path / "list.txt"
    file.write_text(
        "".join(
            f"class {folder}/{n}.png\t{folder if folder < 5 else -1}\n"
            for folder in range(9)
            for n in range(4)
        )
    )
    lists = ("--root", pictures / "pictures", "--json")
    scored = command("eval", "--model", model, "--query", file, *lists).json()
    found = command("calibrate", model, "--list", file, "--dry-run", *lists).json()["validation"]
    assert (scored["queries"], scored["queries_without_positive"]) == (36, 16)
    assert (found["queries"], found["classes"], found["gallery_classes"]) == (36, 5, 5)
    assert found["recognised"] == scored["metrics"]["recall1"]


def test_a_small_calibration_is_told_by_a_large_gallery(
    command: Command, model: Path, pictures: Path, tmp_path: Path
) -> None:
    root, lists = pictures / "pictures", ("--root", pictures / "pictures")
    found = command(
        "calibrate", model, "--list", pictures / "query.txt", "--gallery-list", pictures / "gallery.txt",
        *lists, "--false-accept-rate", "0.2", "--json",
    ).json()  # fmt: skip
    assert (found["validation"]["queries"], found["validation"]["gallery"]) == (9, 15)
    assert (found["same"]["supported"], found["unsure"]["wanted"]) == (True, 0.5)
    gallery = tmp_path / "g"
    assert command("gallery", "create", gallery, "--model", model, root).code == 0
    told = command("search", gallery, root / "class 3" / "0.png")
    assert told.code == 0
    assert "found with a gallery of 15 pictures and this one has 72" in told.err
    assert "up to 5 times as often" in told.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "name pictures or folders"),
        (("{root}", "--list", "{root}/../query.txt"), "not both"),
        (("{root}/class 1",), "all of these 8 are of 'class 1'"),
        (("{root}/class 1/0.png", "{root}/class 2/0.png"), "each of these 2 has one"),
        (("{root}", "--root", "{root}"), "--root is the folder that the paths of a list start from"),
        (("{root}", "--false-accept-rate", "0"), "rates must be above 0"),
        (("{root}", "--unsure-rate", "0.001"), "not below the false-accept rate"),
        (
            ("--list", "{root}/../query.txt", "--gallery-list", "{root}/../train.txt", "--root", "{root}"),
            "labels",
        ),
    ],
)
def test_what_cannot_be_calibrated_says_so(
    command: Command, model: Path, pictures: Path, words: tuple[str, ...], told: str
) -> None:
    given = [word.format(root=pictures / "pictures") for word in words]
    assert told in command("calibrate", model, *given).sentence()
    assert stored_in(model) == {}
