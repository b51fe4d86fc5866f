"""Folders, lists, tar and Parquet files as sources of pictures: what is listed, in which order, and what is
refused.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from lookalike.core.errors import BrokenImage, UserError
from lookalike.deploy.batch.source import Source
from lookalike.deploy.batch.sources import Folder, ListFile, open_sources
from lookalike.deploy.batch.survey import survey
from lookalike.deploy.batch.tar_source import TarFile

Members = list[tuple[str, bytes]]


def write_tar(file: Path, members: Members) -> Path:
    with tarfile.open(file, "w") as archive:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return file


def listed(source: Source) -> list[tuple[str, str | None]]:
    return [(Path(each.name).name, each.label) for each in source.listing()]


def test_the_label_of_a_picture_may_be_its_folder(tmp_path: Path) -> None:
    for name in ("a.png", "b/1.png", "c/d/2.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert listed(Folder(str(tmp_path), folder_labels=True)) == [
        ("a.png", tmp_path.name),
        ("1.png", "b"),
        ("2.png", "d"),
    ]
    assert listed(Folder(str(tmp_path / "c"))) == [("2.png", None)]


def test_parts_of_all_sources_are_what_the_whole_holds_there(tmp_path: Path) -> None:
    for folder, count in (("a", 5), ("b", 3)):
        (tmp_path / folder).mkdir()
        for number in range(count):
            (tmp_path / folder / f"{number}.png").touch()
    tar = write_tar(tmp_path / "c.tar", [(f"{number}.png", b"x") for number in range(4)])
    found = survey(open_sources([str(tmp_path / "a"), str(tmp_path / "b"), str(tar)]))
    assert (found.counts, found.total) == ([5, 3, 4], 12)
    names = [each.name for each in found.pictures([range(12)])]
    assert len(set(names)) == 12
    for parts in ([range(1, 3)], [range(3, 6), range(6, 9)], [range(0, 2), range(7, 12)], [range(4, 5)]):
        wanted = [names[position] for part in parts for position in part]
        assert [each.name for each in found.pictures(parts)] == wanted


def test_members_of_one_key_are_a_picture_with_its_label(tmp_path: Path) -> None:
    members: Members = [
        ("shoe/1.cls", b"3"),
        ("shoe/1.jpg", b"first"),
        ("shoe/._1.jpg", b"of a system"),
        ("2.PNG", b"second"),
        ("2.json", json.dumps({"label": 5, "name": "boot"}).encode()),
        ("2.mask.png", b"no picture of its own"),
        ("2.txt", b"a caption"),
        ("IMG.2026.webp", b"third"),
        ("IMG.txt", b"a hat\n"),
        ("4.json", b"{}"),
    ]
    source = TarFile(str(write_tar(tmp_path / "a.tar", members)))
    assert listed(source) == [("1.jpg", "3"), ("a.tar#2.PNG", "5"), ("a.tar#IMG.2026.webp", "a hat")]
    pictures = list(source.listing())
    assert pictures[0].name == f"{tmp_path}/a.tar#shoe/1.jpg"
    assert [each.read() for each in pictures] == [b"first", b"second", b"third"]
    assert [each.name for each in tmp_path.iterdir()] == ["a.tar"]  # nothing was unpacked
    with pytest.raises(UserError, match=r"a\.tar: the JSON of 'shoe/1' says no 'name'"):
        list(TarFile(source.path, "name").listing())
    named = write_tar(tmp_path / "b.tar", [members[3], members[4]])
    assert listed(TarFile(str(named), "name")) == [("b.tar#2.PNG", "boot")]
    (tmp_path / "a.tar").write_bytes((tmp_path / "a.tar").read_bytes()[:1100])
    with pytest.raises(BrokenImage, match=r"a\.tar#2\.PNG: the tar file ends before the picture does"):
        pictures[1].read()


@pytest.mark.parametrize(
    ("members", "sentence"),
    [
        ([("1.jpg", b"x"), ("1.png", b"y")], "two pictures of the key '1', 1.jpg and 1.png"),
        ([("1.jpg", b"x"), ("1.jpg", b"y")], "two members of the name '1.jpg'"),
        ([("1.jpg", b"x"), ("2.jpg", b"y"), ("1.cls", b"1")], "holds '1' twice, at different places"),
        ([("1.jpg", b"x"), ("1.cls", b"1"), ("2.jpg", b"y")], "2.jpg has no label, and the pictures before"),
        ([("1.jpg", b"x"), ("1.json", b"{")], "1.json cannot be read as a label"),
        ([("1.jpg", b"x"), ("1.json", b'{"label": [1]}')], "'label' must be a whole number or text, got"),
        ([("1.txt", b"x")], "there is no picture in it"),
    ],
)
def test_tar_files_that_are_refused(tmp_path: Path, members: Members, sentence: str) -> None:
    file = write_tar(tmp_path / "a.tar", members)
    with pytest.raises(UserError, match=sentence) as caught:
        list(TarFile(str(file)).listing())
    assert str(caught.value).startswith(str(file))


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.SYMTYPE])
def test_links_in_a_tar_file_are_broken_pictures(tmp_path: Path, kind: bytes) -> None:
    def add(archive: tarfile.TarFile, name: str, data: bytes | None) -> None:
        member = tarfile.TarInfo(name)
        if data is None:
            member.type, member.linkname = kind, "1.png"
        else:
            member.size = len(data)
        archive.addfile(member, None if data is None else io.BytesIO(data))

    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, data in (("1.png", b"x"), ("1.cls", b"3"), ("2.png", None), ("2.cls", b"4"), ("3", None)):
            add(archive, name, data)
    source = TarFile(str(tmp_path / "a.tar"))
    assert listed(source) == [("a.tar#1.png", "3"), ("a.tar#2.png", "4")]
    with pytest.raises(
        BrokenImage, match=r"a\.tar#2\.png: is a link to 1\.png, which is not followed: 'tar --de"
    ):
        next(iter(source.pictures([range(1, 2)]))).read()
    with tarfile.open(tmp_path / "b.tar", "w") as archive:
        add(archive, "1.png", b"x")
        add(archive, "1.cls", None)
    with pytest.raises(UserError, match=r"b\.tar#1\.cls is a link to 1\.png, which is not followed"):
        list(TarFile(str(tmp_path / "b.tar")).listing())


def test_tar_files_that_are_damaged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = write_tar(tmp_path / "a.tar", [("1.jpg", b"x" * 2000), ("2.jpg", b"y" * 2000)])
    whole = file.read_bytes()
    for cut, sentence in ((4000, "unexpected end of data"), (2700, "no member begins at byte 2560")):
        file.write_bytes(whole[:cut])
        with pytest.raises(UserError, match=f"a.tar is no .tar file or is damaged: {sentence}"):
            list(TarFile(str(file)).listing())
    file.write_bytes(whole[: 2 * 2560])  # where a member ends, so that both are whole
    assert len(list(TarFile(str(file)).listing())) == 2
    assert "a.tar has no mark of its end" in caplog.text
    file.write_bytes(whole[:2560] + bytes(512) + whole[3072:])  # the second header is a hole
    with pytest.raises(UserError, match="its end is marked at byte 2560, but something follows"):
        list(TarFile(str(file)).listing())
    file.write_bytes(b"no such file" * 100)
    with pytest.raises(UserError, match=r"a\.tar is no \.tar file or is damaged"):
        list(TarFile(str(file)).listing())
    for name in ("a.tar.gz", "a.tgz"):
        (tmp_path / name).touch()
        with pytest.raises(UserError, match=f"{name} is compressed.*decompress it to .tar"):
            open_sources([str(tmp_path / name)])


def test_rows_of_parquet_are_pictures(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [b"%d" % number for number in range(50)]

    def written(name: str, **columns: object) -> str:
        parquet.write_table(pyarrow.table(columns), tmp_path / name, row_group_size=20)
        return str(tmp_path / name)

    (source,) = open_sources([written("plain.parquet", image=rows, label=list(range(50)))])
    parts = [range(3, 5), range(18, 22), range(41, 50)]
    found = list(source.pictures(parts))
    wanted = [position for part in parts for position in part]
    assert [each.read() for each in found] == [rows[position] for position in wanted]
    assert [each.name for each in found] == [f"{tmp_path}/plain.parquet#{position}" for position in wanted]
    assert [each.label for each in found] == [str(position) for position in wanted]
    assert [each.label for each in source.listing()] == [str(position) for position in range(50)]

    structs = [
        {"bytes": b"a", "path": "x.png"}, {"bytes": None, "path": "y.png"}, None,
        {"bytes": b"", "path": "z.png"}, {"bytes": b"", "path": None},
    ]  # fmt: skip
    (source,) = open_sources(
        [written("hf.parquet", photo=structs, kind=["hat", "hat", "shoe", "shoe", "hat"])],
        image_column="photo",
        label_column="kind",
    )
    found = list(source.pictures([range(5)]))
    read = [found[row].read() for row in (0, 1, 3)]
    assert read == [b"a", str(tmp_path / "y.png"), str(tmp_path / "z.png")]
    assert [each.label for each in found] == ["hat", "hat", "shoe", "shoe", "hat"]
    for row in (2, 4):
        with pytest.raises(BrokenImage, match=rf"hf\.parquet#{row}: there is no picture in this row"):
            found[row].read()
    for columns, words, sentence in (
        ({"images": rows}, {}, r"has no column 'image', did you mean 'images'\? .*--image-column names"),
        (
            {"image": [1, 2]},
            {},
            r"'image' must hold the bytes of picture files, or \{bytes, path\}, got int64",
        ),
        ({"image": rows}, {"label_column": "kind"}, "has no column 'kind'"),
        ({"image": rows[:1], "label": [1.5]}, {"label_column": "label"}, "must hold whole numbers or text"),
        ({"image": rows[:1], "label": [1.5]}, {}, "'label' must hold .*, got double; .* '' none"),
        ({"image": rows[:1], "labels": [True]}, {}, "'labels' must hold whole numbers or text"),
        ({"image": rows[:2], "label": [1, None]}, {}, "#1 has no label: 'label' is empty there"),
        ({"image": pyarrow.array([], pyarrow.binary())}, {}, "there is no row in it"),
    ):
        (source,) = open_sources([written("wrong.parquet", **columns)], **words)
        with pytest.raises(UserError, match=sentence):
            list(source.listing())
    (source,) = open_sources([written("bare.parquet", image=rows[:1], label=[1.5])], label_column="")
    assert [each.label for each in source.listing()] == [None]
    if hasattr(pyarrow, "string_view"):
        text = pyarrow.array(["a hat"], pyarrow.string_view())
        (source,) = open_sources([written("view.parquet", image=rows[:1], label=text)])
        assert [each.label for each in source.listing()] == ["a hat"]
    (source,) = open_sources([str(tmp_path / "wrong.parquet")])
    (tmp_path / "wrong.parquet").write_bytes(b"no such file")
    with pytest.raises(UserError, match=r"wrong\.parquet is no \.parquet file or is damaged"):
        list(source.listing())


def test_names_of_sources(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such file or folder"):
        open_sources([str(tmp_path / "gone.tar")])
    with pytest.raises(UserError, match="no file matches this pattern"):
        open_sources([str(tmp_path / "*.tar")])
    for name in ("b.tar", "a.tar"):
        write_tar(tmp_path / name, [("1.jpg", b"x")])
    found = open_sources([str(tmp_path / "*.tar")])
    assert [each.name for source in found for each in source.listing()] == [
        f"{tmp_path}/{name}#1.jpg" for name in ("a.tar", "b.tar")
    ]
    with pytest.raises(
        UserError, match=r"no picture in this folder .*; for the .tar files in it write '.*/\*.tar'"
    ):
        list(Folder(str(tmp_path)).listing())
    with pytest.raises(UserError, match="leave --folder-labels away"):
        open_sources([str(tmp_path / "a.tar")], folder_labels=True)


@pytest.mark.parametrize(
    ("lines", "kind"), [(["7", "-3"], "numbers"), (["007", "7"], "text"), (["7", "shoe", "9"], "text")]
)
def test_what_the_survey_finds(tmp_path: Path, lines: list[str], kind: str) -> None:
    file = tmp_path / "list.txt"
    file.write_text("".join(f"{n}.png\t{label}\t0\n" for n, label in enumerate(lines)), encoding="utf-8")
    found = survey([ListFile(str(file))])
    assert (found.total, found.labels, found.cameras) == (len(lines), kind, True)
    assert survey([ListFile(str(file))]).digest == found.digest
    file.write_text(file.read_text(encoding="utf-8").replace("0.png", "1.png"), encoding="utf-8")
    assert survey([ListFile(str(file))]).digest != found.digest


def test_a_digest_knows_its_tar_files(tmp_path: Path) -> None:
    file = write_tar(tmp_path / "a.tar", [("1.jpg", b"x")])
    (source,) = open_sources([str(file)])
    before = survey([source]).digest
    os.utime(file, ns=(1, 1))
    assert survey([source]).digest != before
    labelled = write_tar(tmp_path / "b.tar", [("1.jpg", b"x"), ("1.cls", b"1")])
    with pytest.raises(UserError, match="1 of the 2 pictures have a label and the others have none"):
        survey(open_sources([str(file), str(labelled)]))


def test_names_that_come_again_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "list.txt"
    file.write_text("a.jpg 1\nb.jpg 1\nc.jpg 2\n", encoding="utf-8")
    assert survey([ListFile(str(file))]).total == 3
    assert not caplog.records
    file.write_text("a.jpg 1\nb.jpg 1\nb.jpg 1\nc.jpg 2\na.jpg 2\nc.jpg 3\n", encoding="utf-8")
    assert survey([ListFile(str(file))]).total == 6
    monkeypatch.setattr("lookalike.deploy.batch.survey._REMEMBERED", 2)
    survey([ListFile(str(file))])
    first, second = (record.getMessage() for record in caplog.records)
    rest = f"of the 6 pictures are named again, the first: {tmp_path / 'b.jpg'}; each is embedded as often as"
    assert first.startswith(f"3 {rest}")
    assert second.startswith(f"at least 2 {rest}")
