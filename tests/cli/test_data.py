"""data list, prepare and merge, from the command line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lookalike.images import read_records
from tests.cli.conftest import Command
from tests.images.published_layouts import layouts, text


def test_the_sets_are_listed(command: Command) -> None:
    told = command("data", "list").out
    assert "veri-wild" in told
    assert "https://github.com/PKU-IMRE/VERI-Wild" in told
    sets = command("data", "list", "--json").json()["sets"]
    assert sets.keys() == layouts.keys()
    assert sets["sop"]["expected"]["train_list.txt"] == [59551, 11318]


def test_a_set_is_prepared(command: Command, tmp_path: Path) -> None:
    layouts["sop"](tmp_path)
    words = ("data", "prepare", "SOP", "--root", tmp_path)
    told = command(*words, "--dry-run", "--json").json()
    assert told["dry_run"]
    assert not (tmp_path / "train_list.txt").exists()
    told = command(*words, "--json").json()
    assert [(each["images"], each["classes"]) for each in told["lists"]] == [(2, 1), (2, 2)]
    assert told["as_published"] is False
    answer = command(*words)
    assert answer.code == 0, "counts that differ are told, not an error"
    assert "train_list.txt: 2 images of 1 classes, published are 59551 of 11318" in answer.out


def test_the_way_on_is_told(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    layouts["cub200"](tmp_path / "dataset" / "CUB_200_2011")
    assert "now: lookalike check -c quickstart/cub_mobilenetv1" in command("data", "prepare", "cub200").out
    told = command("data", "prepare", "inshop").sentence()
    assert told.startswith("dataset/Inshop is no folder, and nothing is downloaded: get DeepFashion")


def test_matlab_files_need_an_extra(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layouts["cars196"](tmp_path)
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    told = command("data", "prepare", "cars196", "--root", tmp_path).sentence()
    assert told.endswith("needs scipy, which is not installed: pip install 'lookalike[data]'")


def test_lists_are_merged(command: Command, tmp_path: Path) -> None:
    text(tmp_path / "a" / "list.txt", "x.jpg 7 1", "my pictures/y.jpg 3 2", "x.jpg 7 3")
    text(tmp_path / "b" / "lists" / "train.txt", "x.jpg\t3", "z.jpg\t0")
    text(tmp_path / "c.csv", "a/x.jpg,5")
    (tmp_path / "b" / "images").mkdir()
    roots = [tmp_path / "a", tmp_path / "b" / "images", tmp_path]
    lists = [tmp_path / "a/list.txt", tmp_path / "b/lists/train.txt", tmp_path / "c.csv"]
    words = [word for root in roots for word in ("--image-root", root)]
    told = command("data", "merge", *lists, "-o", tmp_path / "all.txt", *words, "--json").json()
    assert (tmp_path / "all.txt").read_text() == (
        "a/x.jpg 0\na/my pictures/y.jpg 1\na/x.jpg 0\nb/images/x.jpg 2\nb/images/z.jpg 3\na/x.jpg 4\n"
    )
    assert told["class_num"] == 5
    assert list(told["id_list"].values()) == [[0, 1], [2, 3], [4, 4]]
    assert told["repeated"] == 1
    merged = {"image_root": str(tmp_path), "cls_label_path": str(tmp_path / "all.txt"), "relabel": True}
    assert read_records({"name": "ImageNetDataset", **merged}).labels.tolist() == [0, 1, 0, 2, 3, 4]
    answer = command("data", "merge", *lists, "-o", tmp_path / "all.txt", *words)
    assert "train.txt: 2 images of 2 classes, id_list [2, 3]" in answer.out
    assert "1 images stand in it more than once, the first is a/x.jpg" in answer.out


def test_the_positions_that_pp_shitu_v2_names(command: Command, tmp_path: Path) -> None:
    counts = {"Aliproduct": 50030, "VeRI-Wild": 30671, "SOP": 11318, "Inshop": 3997}
    for name, classes in counts.items():
        text(tmp_path / name / "train.txt", *(f"{label}.jpg {label + 1}" for label in range(classes)))
    lists = [tmp_path / name / "train.txt" for name in counts]
    told = command("data", "merge", *lists, "-o", tmp_path / "all.txt", "--json").json()
    _, vehicles, _, clothes = told["id_list"].values()
    assert [*vehicles, *clothes] == [50030, 80700, 92019, 96015], "as in general/pp_shitu_v2"


def test_lists_that_cannot_be_merged(command: Command, tmp_path: Path) -> None:
    text(tmp_path / "a" / "list.txt", "x.jpg 1")
    text(tmp_path / "bad.txt", "x.jpg one")
    a, out = tmp_path / "a/list.txt", tmp_path / "a/all.txt"
    assert (
        "label 'one' is no integer" in command("data", "merge", a, tmp_path / "bad.txt", "-o", out).sentence()
    )
    assert "gone.txt does not exist" in command("data", "merge", tmp_path / "gone.txt", "-o", out).sentence()
    assert "is one of the lists" in command("data", "merge", a, "-o", a).sentence()
    words = ("data", "merge", a, "-o", out, "--image-root", tmp_path, "--image-root", tmp_path)
    assert "2 image roots for 1 lists" in command(*words).sentence()
    (tmp_path / "other").mkdir()
    told = command("data", "merge", a, "-o", tmp_path / "other/all.txt").sentence()
    assert "list.txt:1: " in told
    assert "give a --root that holds the images of all lists" in told
    assert not out.exists()
