"""Files and folders are whole or absent."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from lookalike.core.files import (
    NoSpace,
    atomic_file,
    atomic_folder,
    not_text,
    recover_folder,
    sha256,
    write_json,
)


class PowerCut(BaseException):
    """Nothing that the code could handle: what was on the disk at this instant stays there."""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fill(folder: Path, text: str) -> None:
    with atomic_folder(folder) as part:
        (part / "deep").mkdir()
        (part / "deep" / "file.txt").write_text(text)


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "new" / "file.txt"
    with atomic_file(target, "w") as file:
        file.write("é")
        assert not target.exists()
    assert target.read_bytes() == "é".encode()
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(target.stat().st_mode) == 0o666 & ~umask
    assert names(target.parent) == ["file.txt"]


def test_a_file_that_fails_leaves_the_older_one(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"older": "ä"})

    def fail() -> None:
        with atomic_file(tmp_path / "a.json", "w") as file:
            file.write("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"what": object()})
    assert json.loads((tmp_path / "a.json").read_text("utf-8")) == {"older": "ä"}
    assert names(tmp_path) == ["a.json"]


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        OSError(122, "Disk quota exceeded"),
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_names_what_was_to_be_written(tmp_path: Path, error: Exception) -> None:
    def hidden() -> None:
        try:
            raise error
        except type(error):
            raise ValueError("unexpected position") from None  # as libraries hide what they met

    def within_a_folder() -> None:
        with atomic_folder(tmp_path / "model") as part, atomic_file(part / "weights"):
            hidden()

    def alone() -> None:
        with atomic_file(tmp_path / "a.csv"):
            hidden()

    for write, name in ((within_a_folder, "model"), (alone, "a.csv")):
        with pytest.raises(NoSpace) as told:
            write()
        assert str(told.value) == f"the disk is full: no space is left for {tmp_path / name}"
        assert told.value.exit_code == 1
    assert names(tmp_path) == []


def test_no_space_for_the_file_beside_is_told_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", str(tmp_path / ".a.json.x.part"))

    monkeypatch.setattr("lookalike.core.files.tempfile.mkstemp", full)
    with pytest.raises(NoSpace, match=r"no space is left for .*/a\.json$"):
        write_json(tmp_path / "a.json", {})


def test_a_link_stays_and_a_device_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with atomic_file(tmp_path / "link", "w") as file:
        file.write("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="no regular file"), atomic_file(tmp_path / "pipe", "w"):
        pass
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert names(tmp_path) == ["link", "pipe", "real"]


def test_a_folder_takes_the_place_that_a_link_or_a_dot_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real", target_is_directory=True)
    fill(tmp_path / "link", "by the link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "deep" / "file.txt").read_text() == "by the link"
    monkeypatch.chdir(tmp_path / "real")
    fill(Path(), "by the dot")
    assert (tmp_path / "real" / "deep" / "file.txt").read_text() == "by the dot"
    assert names(tmp_path) == ["link", "real"]


def test_a_folder_replaces_the_older_one_as_a_whole(tmp_path: Path) -> None:
    fill(tmp_path / "f", "one")
    (tmp_path / "f" / "leftover").touch()
    fill(tmp_path / "f", "two")
    assert names(tmp_path) == ["f"]
    assert names(tmp_path / "f") == ["deep"]
    assert (tmp_path / "f" / "deep" / "file.txt").read_text() == "two"
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o777 & ~umask


def test_a_folder_that_fails_leaves_the_older_one(tmp_path: Path) -> None:
    fill(tmp_path / "f", "one")

    def fail() -> None:
        with atomic_folder(tmp_path / "f") as part:
            (part / "file").touch()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert names(tmp_path) == ["f"]
    assert (tmp_path / "f" / "deep" / "file.txt").read_text() == "one"


@pytest.mark.parametrize("after_renames", [0, 1, 2])
def test_a_crash_between_the_renames_is_recovered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after_renames: int
) -> None:
    fill(tmp_path / "f", "one")
    own, done = os.replace, 0

    def replace(*paths: Path) -> None:
        nonlocal done
        if done == after_renames:
            raise PowerCut
        done += 1
        own(*paths)

    with monkeypatch.context() as patched:
        patched.setattr("lookalike.core.files.os.replace", replace)
        # after a power cut nobody tidies up
        patched.setattr("lookalike.core.files.recover_folder", lambda path: None)
        patched.setattr(
            "lookalike.core.files.shutil.rmtree", lambda *_, **__: (_ for _ in ()).throw(PowerCut)
        )
        with pytest.raises(PowerCut):
            fill(tmp_path / "f", "two")
    recover_folder(tmp_path / "f")
    assert (tmp_path / "f" / "deep" / "file.txt").read_text() == ("two" if after_renames == 2 else "one")
    fill(tmp_path / "f", "three")
    assert (tmp_path / "f" / "deep" / "file.txt").read_text() == "three"
    assert not (tmp_path / ".f.old").exists()


def test_what_an_earlier_crash_left_is_removed_in_time(tmp_path: Path) -> None:
    left, young, other = tmp_path / ".f.abc.part", tmp_path / ".f.xyz.part", tmp_path / ".g.abc.part"
    for folder in (left, young, other):
        folder.mkdir()
        (folder / "file").write_text("half")
    long_ago = left.stat().st_mtime - 3 * 24 * 3600
    for path in (left / "file", left):
        os.utime(path, (long_ago, long_ago))
    fill(tmp_path / "f", "one")
    assert names(tmp_path) == [".f.xyz.part", ".g.abc.part", "f"]  # another process may be writing these now


def test_nothing_to_recover_is_fine(tmp_path: Path) -> None:
    recover_folder(tmp_path / "nowhere" / "f")
    assert names(tmp_path) == []


def test_what_is_no_text_is_not_told_to_be_saved_as_text(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(b"PK\3\4\0\0\xff")
    assert str(not_text(file, "why")) == (
        f"{file} is a binary file, such as a picture or an archive, where text is needed"
    )
    file.write_bytes("a".encode("utf-16"))
    assert str(not_text(file, "why")) == f"{file} is not UTF-8 text (why): save it as UTF-8"


def test_hash(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "b").write_bytes(b"")
    assert sha256(tmp_path / "a").startswith("ba7816bf")
    assert sha256(tmp_path / "a", tmp_path / "b") == sha256(tmp_path / "a")
