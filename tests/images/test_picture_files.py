"""Which pictures a folder holds, in which order, and what is told of the files that it leaves aside."""

from __future__ import annotations

from pathlib import Path

import pytest

from lookalike.core.errors import UserError
from lookalike.images.picture_files import pictures_inside


def test_a_folder_is_listed_as_all_its_paths_together_would_be_sorted(tmp_path: Path) -> None:
    names = ["a/1.png", "a/b/2.JPG", "a-b/3.png", "a.png", "b.jpg", "a/b.png", "a/b0/1.png", "notes.txt"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "link.png").symlink_to(tmp_path / "a.png")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "again").symlink_to(tmp_path / "a", target_is_directory=True)
    (tmp_path / "round.png").symlink_to(tmp_path / "round.png")
    (tmp_path / "gone.txt").symlink_to(tmp_path / "nowhere.txt")
    expected = sorted(
        str(tmp_path / name) for name in [*names[:-1], "link.png", "gone.png", "round.png"]
    )  # links that lead nowhere are told by whoever reads them
    assert list(pictures_inside(str(tmp_path))) == expected


def test_pictures_that_are_left_aside_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr("lookalike.images.foreign_files.warn_once", told.append)
    for name in ("1.HEIC", "b/2.heic"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"\0\0\0\x18ftypheic")
    heic = (
        r"no picture in this folder .*; 2 files were left aside: 2 \.heic; .*/1\.HEIC: it is a HEIC picture"
    )
    with pytest.raises(UserError, match=heic):
        list(pictures_inside(str(tmp_path)))
    (tmp_path / "photo").write_bytes(b"\xff\xd8\xff\xe0")
    for name in ("1.jpg", "logo.svg", ".hidden.heic", "LICENSE", "labels.csv"):
        (tmp_path / name).touch()
    assert len(list(pictures_inside(str(tmp_path)))) == 1
    assert told == [f"{tmp_path}: 4 files were left aside: 2 .heic, 1 .svg, 1 without a suffix"]
    told.clear()
    for name in ("1.HEIC", "b/2.heic", "logo.svg", "photo"):
        (tmp_path / name).unlink()
    assert (len(list(pictures_inside(str(tmp_path)))), told) == (1, [])


def test_a_folder_without_pictures_tells_of_archives_that_the_caller_reads(tmp_path: Path) -> None:
    (tmp_path / "shard.tar").touch()
    with pytest.raises(UserError, match=r"for the \.tar files in it write '.*/\*\.tar'$"):
        list(pictures_inside(str(tmp_path), archives=(".tar", ".parquet")))
    with pytest.raises(UserError, match=r"\.pbm\)$"):
        list(pictures_inside(str(tmp_path)))
