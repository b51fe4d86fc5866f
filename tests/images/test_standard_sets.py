"""prepare: each published set from a tiny download of its layout, and what can be wrong with a download."""

from __future__ import annotations

import dataclasses
import io
import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from lookalike.core.errors import UserError
from lookalike.images import check_images, read_records
from lookalike.images.standard_sets import prepare, standard_set, standard_sets
from lookalike.images.standard_sets.archives import unpack
from tests.conftest import REPOSITORY
from tests.images.published_layouts import images, layouts, matlab, text

SETS = pytest.mark.parametrize("name", standard_sets)


def refused(*arguments: Any, **named: Any) -> str:
    with pytest.raises(UserError) as caught:
        prepare(*arguments, **named)
    return str(caught.value)


def content(root: Path) -> dict[str, bytes]:
    return {str(f.relative_to(root)): f.read_bytes() for f in sorted(root.rglob("*")) if f.is_file()}


@SETS
def test_the_lists_of_each_set(name: str, tmp_path: Path) -> None:
    expected = layouts[name](tmp_path)
    before = content(tmp_path)
    assert prepare(name, tmp_path, dry_run=True).rehearsed
    assert content(tmp_path) == before
    result = prepare(name, tmp_path)
    assert {each.file for each in result.lists} == {str(tmp_path / file) for file in expected}
    for each in result.lists:
        written = Path(each.file).read_text(encoding="utf-8")
        assert written == expected[str(Path(each.file).relative_to(tmp_path))]
        assert not each.as_published
        section = {"name": result.of.dataset, "image_root": each.image_root, "cls_label_path": each.file}
        records = read_records(section)
        assert check_images(records, decode=False) == []
        assert (len(records), records.num_classes) == (each.images, each.classes)
        if each.expected_images is not None:
            assert f"published are {each.expected_images} of {each.expected_classes}" in each.line()
    after = content(tmp_path)
    assert {file: after[file] for file in before} == before
    assert prepare(name, tmp_path).lists == result.lists, "a second time changes nothing"
    assert content(tmp_path) == after


@pytest.mark.parametrize("name", [each.name for each in standard_sets.values() if each.unpacks])
def test_the_lists_of_each_set_from_an_archive(name: str, tmp_path: Path) -> None:
    layouts[name](tmp_path / "plain" / "top")
    plain = prepare(name, tmp_path / "plain" / "top")
    layouts[name](tmp_path / "made" / "top")
    root = tmp_path / "root"
    root.mkdir()
    shutil.make_archive(str(root / "download"), "gztar", tmp_path / "made")
    rehearsed = prepare(name, root, dry_run=True)
    assert rehearsed.unpacked == [str(root / "download.tar.gz")]
    assert [file.name for file in root.iterdir()] == ["download.tar.gz"]
    result = prepare(name, root)
    assert [(e.images, e.classes) for e in result.lists] == [(e.images, e.classes) for e in plain.lists]
    for each in result.lists:
        section = {"name": result.of.dataset, "image_root": each.image_root, "cls_label_path": each.file}
        assert check_images(read_records(section), decode=False) == []
    assert prepare(name, root).unpacked == []


def sections(value: Any) -> Iterator[dict[str, Any]]:
    """Every block of a recipe that names a data set."""
    if isinstance(value, dict):
        if "cls_label_path" in value:
            yield {key: each for key, each in value.items() if key != "transform_ops"}
        for each in value.values():
            yield from sections(each)


@pytest.mark.parametrize(
    ("name", "recipe"), [(each.name, recipe) for each in standard_sets.values() for recipe in each.recipes]
)
def test_shipped_recipes_read_the_lists(
    name: str, recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    of = standard_set(name)
    inside = Path(of.folder) / "data" if of.links else Path(of.folder)  # deeper than the recipe looks
    layouts[name](inside)
    prepare(name)
    read = 0
    for section in sections(yaml.safe_load((REPOSITORY / f"recipes/{recipe}.yaml").read_text())):
        persons = {"Market1501": "market1501", "DukeMTMC": "dukemtmc"}.get(section["name"])
        own = Path(section["cls_label_path"]).is_relative_to(of.folder)
        if persons == name or (persons is None and own):
            assert check_images(read_records(section), decode=False) == []
            read += 1
    assert read >= 1


def test_logos_are_cut_out(tmp_path: Path) -> None:
    layouts["logodet3k"](tmp_path)
    prepare("LogoDet-3K", tmp_path)
    picture = cv2.imread(str(tmp_path / "val/Clothes/Zara/5_1.jpg"))
    assert picture is not None
    assert picture.shape == (7, 5, 3)
    broken = tmp_path / "LogoDet-3K/Clothes/Zara/2.xml"
    text(broken, "<!DOCTYPE x [<!ENTITY a 'b'>]><annotation/>")
    assert "document type" in refused("logodet3k", tmp_path)
    text(broken, "<annotation><object><name>z</name></object></annotation>")
    assert f"{broken} cannot be read as an annotation" in refused("logodet3k", tmp_path)
    text(broken, "<annotation>")
    assert f"{broken} cannot be read as an annotation" in refused("logodet3k", tmp_path)


def test_cars_in_two_parts(tmp_path: Path) -> None:

    kind = [("fname", object), ("class", object)]
    train = np.array([("1.jpg", 99), ("2.jpg", 2)], dtype=kind)
    matlab(tmp_path / "devkit/cars_train_annos.mat", annotations=train)
    test = np.array([("1.jpg", 3)], dtype=kind)
    matlab(tmp_path / "cars_test_annos_withlabels.mat", annotations=test)
    images(tmp_path, "cars_train/1.jpg", "cars_train/2.jpg", "cars_test/1.jpg")
    prepare("cars196", tmp_path)
    assert (tmp_path / "train_list.txt").read_text() == "cars_train/2.jpg 2 2\ncars_test/1.jpg 3 3\n"
    assert (tmp_path / "test_list.txt").read_text() == "cars_train/1.jpg 99 1\n"
    (tmp_path / "cars_test_annos_withlabels.mat").write_bytes(b"no matrix at all")
    assert "cannot be read as a MATLAB file" in refused("cars196", tmp_path)
    matlab(tmp_path / "cars_test_annos_withlabels.mat", other=1)
    assert "no variable 'annotations'" in refused("cars196", tmp_path)


def test_lists_of_veri_wild_that_are_released_in_their_place(tmp_path: Path) -> None:
    expected = layouts["veri-wild"](tmp_path)
    for file in (tmp_path / "train_test_split").iterdir():
        file.unlink()  # this release has no bare lists; its lines end as Windows has them
    for file, lines in expected.items():
        (tmp_path / file).write_text(lines.replace("\n", "\r\n"), newline="")
    before = content(tmp_path)
    result = prepare("veri-wild", tmp_path)
    assert [each.images for each in result.lists] == [2, 1, 1, 1, 1, 1, 1]
    assert content(tmp_path) == before, "the download is never changed"
    (tmp_path / "images/00007/000012.jpg").unlink()
    assert "belongs to the download" in refused("veri-wild", tmp_path, allow_missing=True, force=True)
    assert "images/00007/000012.jpg" in refused("veri-wild", tmp_path)


def test_lists_of_veri_wild_that_are_released_deeper(tmp_path: Path) -> None:
    expected = layouts["veri-wild"](tmp_path / "data")
    for name in ("train_list.txt", "vehicle_info.txt"):
        (tmp_path / "data" / "train_test_split" / name).unlink()
    for file, lines in expected.items():
        (tmp_path / "data" / file).write_text(lines)
    prepare("veri-wild", tmp_path)
    assert {file: (tmp_path / file).read_text() for file in expected} == expected


def test_names_of_classes_stand_beside_the_lists(tmp_path: Path) -> None:
    layouts["bird400"](tmp_path)
    prepare("bird400", tmp_path)
    assert (tmp_path / "class_names.txt").read_text() == "0\tABBOTT BABBLER\n1\tOWL\n"


def test_published_counts_are_met(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layouts["gpr1200"](tmp_path)
    of = standard_set("gpr1200")
    domains = ("landmarks", "inat", "faces")
    counts = {"test_list.txt": (3, 3), **{f"test_{domain}_list.txt": (1, 1) for domain in domains}}
    monkeypatch.setitem(standard_sets, of.name, dataclasses.replace(of, expected=counts))
    result = prepare("gpr1200", tmp_path)
    assert result.as_published
    assert "test_list.txt: 3 images of 3 classes, as published" in result.text()
    assert "published are" not in result.text()
    assert "note:" not in result.text()


def test_what_is_missing_and_where_to_get_it(tmp_path: Path) -> None:
    told = refused("sop", tmp_path)
    assert "there is no 'Ebay_train.txt'" in told
    assert "nothing is downloaded: get Stanford Online Products from https://cvgl" in told
    assert "is no folder, and nothing is downloaded" in refused("sop", tmp_path / "gone")
    assert "did you mean 'veri776'" in refused("veri77", tmp_path)
    assert "there is no folder of a class" in refused("cars112", tmp_path)


def test_images_that_are_not_there(tmp_path: Path) -> None:
    layouts["sop"](tmp_path)
    gone = tmp_path / "Stanford_Online_Products/bicycle_final/1_1.JPG"
    gone.unlink()
    told = refused("sop", tmp_path)
    assert f"1 of the 2 images of train_list.txt are not there, the first is {gone}; --allow-missing" in told
    assert not (tmp_path / "train_list.txt").exists()
    result = prepare("sop", tmp_path, allow_missing=True)
    assert [each.missing for each in result.lists] == [1, 0]
    assert "1 images that are not there were left out" in result.text()
    shutil.rmtree(gone.parent)
    assert "none of the 2 images" in refused("sop", tmp_path, allow_missing=True, force=True)


def test_lists_that_say_something_else_are_kept(tmp_path: Path) -> None:
    expected = layouts["sop"](tmp_path)
    text(tmp_path / "test_list.txt", "mine.jpg 1 1")
    assert "test_list.txt is there already and says something else" in refused("sop", tmp_path)
    prepare("sop", tmp_path, force=True)
    assert (tmp_path / "test_list.txt").read_text() == expected["test_list.txt"]


@pytest.mark.parametrize(
    ("name", "file", "line", "told"),
    [
        ("sop", "Stanford_Online_Products/Ebay_test.txt", "header\n1 2 3", ":2: expected 4 columns, got 3"),
        (
            "sop",
            "Stanford_Online_Products/Ebay_test.txt",
            "header\na 2 3 x.jpg",
            ":2: 'a' is no whole number",
        ),
        ("inshop", "Eval/list_eval_partition.txt", "2\nheader\nx.jpg 1 test", ":3: status 'test' is none of"),
        ("cub200", "image_class_labels.txt", "1 1", "images.txt:2: image 2 has no class"),
        ("veri-wild", "train_test_split/train_list.txt", "1/2\n00001/000001", "has no line in vehicle_info"),
        ("compcars", "train_test_split/classification/test.txt", "a.jpg\nb.jpg", "make/model/year/image.jpg"),
        ("products10k", "train.csv", "name,x\na,b", "no column 'class'"),
        ("food-101", "food-101/meta/train.txt", "a b", "food-101/meta/train.txt:1: expected 1 columns"),
        ("inaturalist2019", "val2019.json", "{", "cannot be read as JSON"),
        ("icartoonface", "icartoonface_rectest_info.txt", "a 1 2", "image left top right bottom person"),
    ],
)
def test_wrong_files_are_told_with_their_line(
    name: str, file: str, line: str, told: str, tmp_path: Path
) -> None:
    layouts[name](tmp_path)
    text(tmp_path / file, line)
    assert told in refused(name, tmp_path)


def zipped(file: Path, *names: str) -> Path:
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return file


@pytest.mark.parametrize("name", ["../out.txt", "/out.txt", "a/../../out.txt", "..\\out.txt", "C:\\out.txt"])
def test_no_path_of_an_archive_leaves_the_folder(name: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    with pytest.raises(UserError, match="would leave the folder"):
        unpack(zipped(root / "a.zip", "good.txt", name))
    with tarfile.open(root / "b.tar", "w") as archive:
        info = tarfile.TarInfo(name)
        info.size = 1
        archive.addfile(info, io.BytesIO(b"x"))
    with pytest.raises(UserError, match="would leave the folder"):
        unpack(root / "b.tar")
    assert sorted(file.name for file in tmp_path.rglob("*")) == ["a.zip", "b.tar", "root"]


def test_archives_that_are_not_unpacked(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "link.tar", "w") as archive:
        link = tarfile.TarInfo("x")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(UserError, match="'x' is a link or a device"):
        unpack(tmp_path / "link.tar")
    (tmp_path / "broken.zip").write_bytes(b"PK no archive")
    with pytest.raises(UserError, match=r"broken.zip cannot be unpacked, it may not be whole"):
        unpack(tmp_path / "broken.zip")
    whole = zipped(tmp_path / "short.zip", "a/1", "a/2").read_bytes()
    (tmp_path / "short.zip").write_bytes(whole[:40])
    with pytest.raises(UserError, match="may not be whole"):
        unpack(tmp_path / "short.zip")
    assert sorted(f.name for f in tmp_path.iterdir()) == ["broken.zip", "link.tar", "short.zip"]


def test_where_archives_go(tmp_path: Path) -> None:
    assert unpack(zipped(tmp_path / "one.zip", "data/1", "data/2", "__MACOSX/x")) == tmp_path / "data"
    assert unpack(zipped(tmp_path / "many.zip", "a/1", "b/2")) == tmp_path / "many"
    assert (tmp_path / "many/b/2").read_bytes() == b"x"
    assert unpack(zipped(tmp_path / "train.json.zip", "train.json")) == tmp_path / "train.json"
    assert (tmp_path / "train.json").read_bytes() == b"x"
    assert unpack(tmp_path / "many.zip") is None
    assert unpack(tmp_path / "one.zip") is None
    with pytest.raises(UserError, match="both hold the folder 'data'"):
        unpack(zipped(tmp_path / "two.zip", "data/3"), just_made={tmp_path / "data"})


@SETS
def test_each_set_has_its_row_in_the_documents(name: str) -> None:
    page = (REPOSITORY / "docs" / "data.md").read_text(encoding="utf-8")
    row = next(line for line in page.splitlines() if line.startswith(f"| `{name}` |"))
    of = standard_set(name)
    assert f"[{of.title}]({of.homepage}): {of.needs} |" in row
    assert f"| `{of.folder}` | {', '.join(of.recipes) or '–'} | {of.terms} | {of.unsure or '–'} |" in row
    assert all(f"{images} / {classes}" in row for images, classes in of.expected.values())
