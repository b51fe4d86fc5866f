"""gallery and search, from the command line."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from lookalike import Embedder
from lookalike.core.errors import UserError
from lookalike.deploy.model_folder import MANIFEST
from lookalike.gallery.store import Store
from tests.cli.conftest import Command


def test_create_add_info_search(command: Command, model: Path, pictures: Path, tmp_path: Path) -> None:
    gallery, root = tmp_path / "my gallery", pictures / "pictures"
    made = command(
        "gallery", "create", gallery, "--model", model, root / "class 0", root / "class 1", "--json"
    ).json()
    assert (made["added"], made["known"], made["broken"], made["pictures"]) == (16, [], [], 16)
    assert made["counts"] == {"class 0": 8, "class 1": 8}

    label = "Größe 3 · 大"
    added = command(
        "gallery", "add", gallery, root / "class 0", root / "class 2", "--label", label, "--json"
    ).json()
    assert (added["added"], len(added["known"])) == (8, 8)
    assert added["conflicts"][0] == {
        "path": str(root / "class 0" / "0.png"), "enrolled_as": "class 0", "label": label,
    }  # fmt: skip
    again = command("gallery", "add", gallery, root / "class 0" / "0.png", "--label", label)
    assert f"0.png is enrolled as 'class 0' and stays so; '{label}' was not taken" in again.err
    assert "0 enrolled, 1 were enrolled already (1 under another label); 24 pictures" in again.out
    told = command("gallery", "info", gallery)
    assert told.out.startswith("24 pictures of 3 labels, 16 numbers each")
    assert command("gallery", "info", gallery, "--json").json()["counts"][label] == 8

    found = command(
        "search", gallery, root / "class 2" / "0.png", root / "class 1" / "3.png", "-k", "2", "--json"
    ).json()
    first, second = found["results"]
    assert first["query"] == str(root / "class 2" / "0.png")
    assert first["answers"][0] == {
        "label": label, "score": pytest.approx(1.0, abs=1e-5), "path": str(root / "class 2" / "0.png"),
        "id": first["answers"][0]["id"], "verdict": None,
    }  # fmt: skip
    assert [len(each["answers"]) for each in (first, second)] == [2, 2]
    text = command("search", gallery, root / "class 2" / "0.png", "-k", "1").out.splitlines()
    assert text == [str(root / "class 2" / "0.png"), f"  1.0000  {label}  {root / 'class 2' / '0.png'}"]


def test_list_files_with_numbers_and_with_words(
    command: Command, model: Path, pictures: Path, tmp_path: Path
) -> None:
    words = ("--model", model, "--list", pictures / "gallery.txt", "--root", pictures / "pictures", "--json")
    assert command("gallery", "create", tmp_path / "one", *words).json()["counts"] == {"6": 5, "7": 5, "8": 5}
    (tmp_path / "pictures").symlink_to(pictures / "pictures")
    (tmp_path / "list.txt").write_text(
        "pictures/class 0/0.png\tred shoe\npictures/class 1/0.png\tSchuh\n", "utf-8"
    )
    (tmp_path / "blanks.txt").write_text(
        "pictures/class 2/0.png red shoe\npictures/class 2/1.png 7\n", "utf-8"
    )
    two = tmp_path / "two"
    told = command(
        "gallery", "create", two, "--model", model, "--list", tmp_path / "list.txt", "--json"
    ).json()
    assert told["counts"] == {"Schuh": 1, "red shoe": 1}
    told = command("gallery", "add", two, "--list", tmp_path / "blanks.txt", "--json").json()
    assert told["counts"] == {"7": 1, "Schuh": 1, "red shoe": 2}


def test_a_csv_list(command: Command, model: Path, pictures: Path, tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    file.write_text('class 0/0.png,"shoe, red"\nclass 1/0.png,Schuh\n', "utf-8")
    words = ("--list", file, "--root", pictures / "pictures", "--json")
    told = command("gallery", "create", tmp_path / "g", "--model", model, *words).json()
    assert told["counts"] == {"Schuh": 1, "shoe, red": 1}
    file.write_text("class 0/0.png\nclass 1/0.png\n", "utf-8")
    assert "list.csv: no line has a label" in command("gallery", "add", tmp_path / "g", *words).sentence()


def test_a_model_folder_that_was_changed_makes_no_gallery(
    command: Command, model: Path, pictures: Path, tmp_path: Path
) -> None:
    changed, picture = tmp_path / "changed", pictures / "pictures" / "class 0" / "0.png"
    shutil.copytree(model, changed)
    assert command("gallery", "create", tmp_path / "g", "--model", changed, picture).code == 0
    values = json.loads((changed / MANIFEST).read_text("utf-8"))
    values["normalized"] = not values["normalized"]
    (changed / MANIFEST).write_text(json.dumps(values), "utf-8")
    for words in (
        ("gallery", "create", tmp_path / "h", "--model", changed),
        ("gallery", "add", tmp_path / "g", picture),
        ("search", tmp_path / "g", picture),
    ):
        assert "do not fit the fingerprint" in command(*words).sentence()
    assert not (tmp_path / "h").exists()


def test_paths_are_known_from_every_folder(
    command: Command, model: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = tmp_path / "g"
    monkeypatch.chdir(pictures / "pictures" / "class 0")
    assert command("gallery", "create", gallery, "--model", model, "0.png", "--json").json()["counts"] == {
        "class 0": 1
    }
    assert command("gallery", "add", gallery, "./0.png", "--json").json()["added"] == 0
    monkeypatch.chdir(pictures / "pictures" / "class 1")
    assert command("gallery", "add", gallery, "0.png", "--json").json()["counts"] == {
        "class 0": 1,
        "class 1": 1,
    }


def test_broken_pictures_are_told(command: Command, model: Path, pictures: Path, tmp_path: Path) -> None:
    inside = tmp_path / "shoes"
    shutil.copytree(pictures / "pictures" / "class 3", inside)
    (inside / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    told = command("gallery", "create", tmp_path / "g", "--model", model, inside, "--json")
    values = told.json()
    assert values["added"] == 8
    assert [path for path, _ in values["broken"]] == [str(inside / "bad.png")]
    assert told.err.count("bad.png") == 1  # not again by Gallery.add
    assert "left out" in told.err
    assert (
        "none of the 1 pictures could be read"
        in command("gallery", "add", tmp_path / "g", inside / "bad.png").sentence()
    )
    assert (
        "none of the 1 pictures could be read"
        in command("search", tmp_path / "g", inside / "bad.png").sentence()
    )
    found = command("search", tmp_path / "g", inside / "bad.png", inside / "1.png", "--json").json()
    assert [each["query"] for each in found["results"]] == [str(inside / "1.png")]
    assert len(found["broken"]) == 1


def test_a_create_that_fails_can_be_given_again(
    command: Command, model: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery, picture = tmp_path / "g", pictures / "pictures" / "class 0" / "0.png"
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"nothing")
    assert (
        "gone.png"
        in command("gallery", "create", gallery, "--model", model, tmp_path / "gone.png").sentence()
    )
    assert not gallery.exists()
    assert "none of the 1" in command("gallery", "create", gallery, "--model", model, bad).sentence()
    assert not gallery.exists()

    def diverged(*_: object, **__: object) -> None:
        raise UserError("the model gives values that are not finite")

    with monkeypatch.context() as patched:
        patched.setattr(Embedder, "encode", diverged)
        assert "not finite" in command("gallery", "create", gallery, "--model", model, picture).sentence()
    assert not gallery.exists()

    connect = Store._connect

    def small(store: Store, how: str) -> sqlite3.Connection:
        connection = connect(store, how)
        connection.execute("PRAGMA max_page_count = 2")
        return connection

    with monkeypatch.context() as patched:
        patched.setattr(Store, "_connect", small)
        told = command("gallery", "create", gallery, "--model", model, picture).sentence(code=1)
        assert told == f"the disk is full: no space is left for {gallery}"
    assert command("gallery", "create", gallery, "--model", model, picture).code == 0
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_mistakes_are_one_sentence(command: Command, model: Path, pictures: Path, tmp_path: Path) -> None:
    gallery, picture = tmp_path / "g", pictures / "pictures" / "class 0" / "0.png"
    assert command("gallery", "create", gallery, "--model", model).code == 0  # an empty one is fine
    assert "exists already" in command("gallery", "create", gallery, "--model", model).sentence()
    assert "is empty" in command("search", gallery, picture).sentence()
    assert "name at least one picture" in command("gallery", "add", gallery).sentence()
    assert "is not a gallery" in command("search", tmp_path / "no", picture).sentence()
    assert (
        "nowhere" in command("gallery", "create", tmp_path / "h", "--model", tmp_path / "nowhere").sentence()
    )
    assert "--model" in command("gallery", "create", tmp_path / "h").sentence()
    assert "-k" in command("search", gallery, picture, "-k", "0").sentence()
    assert "gone.png" in command("search", gallery, tmp_path / "gone.png").sentence()
    rooted = command("gallery", "add", gallery, picture, "--root", tmp_path).sentence()
    assert "--root is the folder that the paths of a list start from: name a list too" in rooted
    words = ("gallery", "add", gallery, "--list")
    for text, told in (
        ("", "the list is empty"),
        ("a.png\n", "list.txt: no line has a label"),
        ("a photo.png\nb.png\n", "list.txt: no line has a label"),
        ("a.png,3\nb.png,4\n", "by a comma where the file ends in .csv (got 'a.png,3')"),
        ("a.png x\nb.png\n", "list.txt:2: expected 'path label', got 'b.png'"),
        ("a.png 1 2 3\n", "list.txt:1: expected 'path label' or 'path label camera', got 4 columns"),
        ("a.png\tx\tleft\n", "list.txt:1: camera 'left' is no integer"),
        ("a.png\tx\t1\nb.png\tx\n", "list.txt:2"),
    ):
        (tmp_path / "list.txt").write_text(text)
        assert told in command(*words, tmp_path / "list.txt").sentence()
    assert not (tmp_path / "h").exists()


def test_a_model_that_moved_is_named(command: Command, model: Path, pictures: Path, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    shutil.copytree(model, here)
    picture = pictures / "pictures" / "class 0" / "0.png"
    assert command("gallery", "create", tmp_path / "g", "--model", here, picture).code == 0
    here.rename(there)
    assert "--model" in command("search", tmp_path / "g", picture).sentence()
    assert command("search", tmp_path / "g", picture, "--model", there).code == 0
