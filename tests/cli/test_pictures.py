"""Which pictures words mean, and what a line of a list file means whose labels are names."""

from __future__ import annotations

from pathlib import Path

import pytest

from lookalike.cli.pictures import find_pictures, listed_pictures
from lookalike.core.errors import UserError
from lookalike.images import read_records


def test_words_mean_files_folders_and_patterns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a/1.png", "a/b/2.png", "3.png", "4.xyz"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    assert find_pictures(["4.xyz", "a/", "*.png", "."]) == [
        *("4.xyz", "a/1.png", "a/b/2.png"),
        "3.png",
        *("3.png", "a/1.png", "a/b/2.png"),
    ]
    with pytest.raises(UserError, match=r"gone\.png: there is no such file or folder"):
        find_pictures(["gone.png"])
    with pytest.raises(UserError, match="no file matches this pattern"):
        find_pictures(["*.jpg"])
    with pytest.raises(UserError, match=r"^https://shop/a\.jpg\?size=2: pictures are read from files here"):
        find_pictures(["https://shop/a.jpg?size=2"])


@pytest.mark.parametrize(
    ("line", "path", "label", "camera"),
    [
        ("a.jpg 3", "a.jpg", "3", None),
        ("a.jpg 3 1", "a.jpg", "3", 1),
        ("a.jpg red shoe", "a.jpg", "red shoe", None),
        ("a.jpg 7 up", "a.jpg", "7 up", None),
        ("my photo.jpg 3", "my photo.jpg", "3", None),
        ("my photo.jpg red shoe", "my photo.jpg", "red shoe", None),
        ("my.jpg photo.jpg 3", "my.jpg photo.jpg", "3", None),
        ("image001 shoe", "image001", "shoe", None),
        ("my photo.jpg\tred shoe", "my photo.jpg", "red shoe", None),
        ("my photo.jpg\t3\t-1", "my photo.jpg", "3", -1),
    ],
)
def test_a_line(tmp_path: Path, line: str, path: str, label: str, camera: int | None) -> None:
    file = tmp_path / "list.txt"
    file.write_text(f"\ufeff{line}\r\n\r\n", encoding="utf-8")
    found = listed_pictures(str(file), None)
    assert found.paths == [str(tmp_path / path)]
    assert found.labels == [label]
    assert found.cameras == (None if camera is None else [camera])
    if label.isdecimal() and camera is None and "\t" not in line:  # training reads the line alike
        dataset = {"name": "ImageNetDataset", "image_root": str(tmp_path), "cls_label_path": str(file)}
        records = read_records(dataset)
        assert (records.paths, records.labels.tolist()) == (found.paths, [int(label)])


@pytest.mark.parametrize("header", ["", "path,label,camera\n"])
def test_a_csv(tmp_path: Path, header: str) -> None:
    file = tmp_path / "list.CSV"
    file.write_text(f'{header}a b.jpg,"shoe, red",1\n/c.jpg, 7 ,2\n', encoding="utf-8")
    found = listed_pictures(str(file), "/")
    assert found.paths == ["/a b.jpg", "/c.jpg"]
    assert found.labels == ["shoe, red", "7"]
    assert found.cameras == [1, 2]


def test_files_that_are_no_list(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.txt does not exist"):
        listed_pictures(str(tmp_path / "gone.txt"), None)
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not UTF-8 text"):
        listed_pictures(str(tmp_path / "a.txt"), None)
    with pytest.raises(UserError, match="is no folder"):
        listed_pictures(str(tmp_path / "a.txt"), str(tmp_path / "gone"))
