"""The formats of published sets: file names, boxes, packed pictures, pairs, mixtures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from lookalike.core.errors import BrokenImage, UserError
from lookalike.images import Records, check_images, dataset_operations, decode_image, read_records
from lookalike.images.records import Pairs


def refused(section: dict[str, Any], folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_records(section)
    return str(caught.value).replace(str(folder) + "/", "")


def touch(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"")


MARKET = "market1501/Market-1501-v15.09.15"


def market(root: Path, folder: str, name: str = "Market1501", **arguments: Any) -> dict[str, Any]:
    return {"name": name, "image_root": str(root), "cls_label_path": folder, **arguments}


def test_names_of_market_1501(tmp_path: Path) -> None:
    touch(
        tmp_path / MARKET / "bounding_box_test",
        "0007_c3s2_000012_01.jpg", "-1_c1s1_000401_03.jpg", "0000_c6s1_000001_00.jpg",
        "0002_c1s1_000451_03.jpg", "Thumbs.db",
    )  # fmt: skip
    records = read_records(market(tmp_path, "bounding_box_test"))
    assert [Path(path).name[:7] for path in records.paths] == ["0000_c6", "0002_c1", "0007_c3"]
    assert records.labels.tolist() == [0, 2, 7]
    assert records.cameras is not None
    assert records.cameras.tolist() == [5, 0, 2]
    assert records.class_names is None
    assert records.where(0) == records.paths[0]


def test_training_persons_are_numbered(tmp_path: Path) -> None:
    touch(tmp_path / "bounding_box_train", "0011_c1s1_1.jpg", "0002_c1s1_1.jpg", "0002_c2s1_1.jpg")
    records = read_records(market(tmp_path, "bounding_box_train", backend="pil"))
    assert records.labels.tolist() == [0, 0, 1]
    assert records.class_names == {0: "2", 1: "11"}
    plain = read_records(market(tmp_path, "bounding_box_train", relabel=False))
    assert plain.labels.tolist() == [2, 2, 11]


@pytest.mark.parametrize(
    ("name", "inside", "file", "camera"),
    [
        ("DukeMTMC", "dukemtmc/DukeMTMC-reID", "0005_c8_f0000001.jpg", 7),
        ("MSMT17", "msmt17/MSMT17_V1", "0005_c15_0001.jpg", 14),
    ],
)
def test_other_sets_of_persons(tmp_path: Path, name: str, inside: str, file: str, camera: int) -> None:
    touch(tmp_path / inside / "query", file)
    records = read_records(market(tmp_path, "query", name))
    assert records.labels.tolist() == [5]
    assert records.cameras is not None
    assert records.cameras.tolist() == [camera]


def test_wrong_folders_of_persons(tmp_path: Path) -> None:
    assert "Market1501: there is no folder 'query' (looked for " in refused(
        market(tmp_path, "query"), tmp_path
    )
    touch(tmp_path / "query", "0001_c7s1_1.jpg")
    told = refused(market(tmp_path, "query"), tmp_path)
    assert "query/0001_c7s1_1.jpg: Market1501 has persons from 0 on and cameras 1 to 6" in told
    touch(tmp_path / "gallery", "someone.jpg")
    told = refused(market(tmp_path, "gallery"), tmp_path)
    assert "gallery/someone.jpg: a file of Market1501 is called PERSON_cCAMERA" in told
    touch(tmp_path / "empty")
    assert "empty: no images" in refused(market(tmp_path, "empty"), tmp_path)
    told = refused(market(tmp_path, "query", backend="opencv"), tmp_path)
    assert "backend: must be" in told


def comp_cars(folder: Path, box: str = "3\n1\n2 4 12 14\n", **arguments: Any) -> dict[str, Any]:
    (folder / "list.txt").write_text("78/a.b.jpg 5 extra\n", encoding="utf-8")
    (folder / "label" / "78").mkdir(parents=True, exist_ok=True)
    (folder / "label" / "78" / "a.b.txt").write_text(box, encoding="utf-8")
    return {
        "name": "CompCars",
        "image_root": str(folder),
        "cls_label_path": str(folder / "list.txt"),
        "label_root": str(folder / "label"),
        "bbox_crop": True,
        **arguments,
    }


def test_boxes_of_comp_cars(tmp_path: Path) -> None:
    records = read_records(comp_cars(tmp_path))
    assert records.labels.tolist() == [5]
    assert records.boxes is not None
    assert records.boxes.tolist() == [[2, 4, 12, 14]]
    assert records.subset([0, 0]).boxes.tolist() == [[2, 4, 12, 14]] * 2  # type: ignore[union-attr]
    assert read_records(comp_cars(tmp_path, bbox_crop=False)).boxes is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"box": "1 2 3"}, "label/78/a.b.txt:1: expected a box 'left top right bottom' in the last line"),
        ({"box": ""}, "label/78/a.b.txt:1: expected a box"),
        (
            {"box": "1\n9 1 3 4"},
            "label/78/a.b.txt:2: a box is 'left top right bottom' with 0 <= left < right",
        ),
        ({"label_root": None}, "bbox_crop needs label_root"),
        ({"label_root": "nowhere"}, "nowhere is no folder"),
    ],
)
def test_wrong_boxes(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    assert message in refused(comp_cars(tmp_path, **change), tmp_path)


def test_a_missing_box_is_named_with_the_line(tmp_path: Path) -> None:
    section = comp_cars(tmp_path)
    (tmp_path / "label/78/a.b.txt").unlink()
    assert refused(section, tmp_path).startswith(
        "list.txt:1: the file with the box, label/78/a.b.txt, cannot"
    )


def logo(folder: Path, text: str) -> dict[str, Any]:
    (folder / "logo.txt").write_text(text, encoding="utf-8")
    return {"name": "LogoDataset", "image_root": str(folder), "cls_label_path": str(folder / "logo.txt")}


def test_the_table_of_logos(tmp_path: Path) -> None:
    records = read_records(
        logo(tmp_path, "image_id\tclass\tname\tpath\n1\t1\tx\ta b.jpg\n2\t7\ty\tc.jpg\tz\n")
    )
    assert records.paths == [f"{tmp_path}/a b.jpg", f"{tmp_path}/c.jpg"]
    assert records.labels.tolist() == [0, 6]
    assert records.where(1).endswith("logo.txt:3")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\t1\ta.jpg", "logo.txt:1: expected at least 4 columns separated by tabs"),
        ("1\t0\tx\ta.jpg", "logo.txt:1: class '0' in the second column"),
        ("1\tx\tx\ta.jpg", "logo.txt:1: class 'x' in the second column"),
        ("image_id\tclass\n", "logo.txt: the table has no rows"),
    ],
)
def test_wrong_tables_of_logos(tmp_path: Path, text: str, message: str) -> None:
    assert message in refused(logo(tmp_path, text), tmp_path)


def pair_section(folder: Path, **lists: str) -> dict[str, Any]:
    for name, text in lists.items():
        (folder / f"{name}_pairs.txt").write_text(text, encoding="utf-8")
    return {"name": "FiveValidationDataset", "val_data_path": str(folder)}


def listed(pairs: Pairs) -> list[list[Any]]:
    return [column.tolist() for column in (pairs.left, pairs.right, pairs.same)]


def test_lists_of_pairs(tmp_path: Path) -> None:
    section = pair_section(tmp_path, lfw="a.jpg b.jpg 1\n\nb.jpg c.jpg 0\n", cfp_fp="c c.jpg\ta.jpg\tTrue\n")
    records = read_records({**section, "concat_mem_file_name": "x/memfile"})
    assert records.pairs is not None
    assert list(records.pairs) == ["cfp_fp", "lfw"]
    assert [Path(path).name for path in records.paths] == ["c c.jpg", "a.jpg", "b.jpg", "c.jpg"]
    assert listed(records.pairs["cfp_fp"]) == [[0], [1], [True]]
    assert listed(records.pairs["lfw"]) == [[1, 2], [2, 3], [True, False]]
    assert len(records.pairs["lfw"]) == 2
    only = read_records({**section, "sets": ["lfw"], "image_root": str(tmp_path.parent)})
    assert list(only.pairs or {}) == ["lfw"]
    assert only.paths[0] == f"{tmp_path.parent}/a.jpg"
    assert only.subset([0]).pairs is None


@pytest.mark.parametrize(
    ("lists", "more", "message"),
    [
        ({}, {}, "has no list of pairs: expected a file such as lfw_pairs.txt"),
        ({"lfw": "a.jpg b.jpg"}, {}, "lfw_pairs.txt:1: expected 'path1 path2 same'"),
        (
            {"lfw": "a.jpg b.jpg 2"},
            {},
            "lfw_pairs.txt:1: 'same' must be 1 (one identity) or 0 (two), got '2'",
        ),
        ({"lfw": "\n"}, {}, "lfw_pairs.txt: the list is empty"),
        ({"lfw": "a b 1"}, {"sets": ["calfw"]}, "has no list calfw_pairs.txt (it has lfw)"),
        ({}, {"val_data_path": "nowhere"}, "val_data_path nowhere is no folder"),
    ],
)
def test_wrong_pairs(tmp_path: Path, lists: dict[str, str], more: dict[str, Any], message: str) -> None:
    assert message in refused({**pair_section(tmp_path, **lists), **more}, tmp_path)


def write_cifar(folder: Path, names: list[str], label_bytes: int, each: int, classes: int) -> np.ndarray:
    rng, pictures = np.random.default_rng(0), []
    folder.mkdir(parents=True)
    for name in names:
        rows = rng.integers(0, 256, (each, label_bytes + 3072), dtype=np.uint8)
        rows[:, :label_bytes] = (np.arange(each) % classes)[:, None]
        (folder / name).write_bytes(rows.tobytes())
        pictures.append(rows[:, label_bytes:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    return np.concatenate(pictures)


BATCHES = [f"data_batch_{n}.bin" for n in range(1, 6)]


def test_packed_pictures_of_cifar_10(tmp_path: Path) -> None:
    pictures = write_cifar(tmp_path / "cifar-10-batches-bin", BATCHES, 1, 12, 10)
    section = {"name": "Cifar10", "data_file": str(tmp_path), "mode": "train", "download": False}
    records = read_records(section)
    assert len(records) == 60
    assert records.labels.tolist() == ([*range(10), 0, 1]) * 5
    for index in (0, 13, 59):
        assert np.array_equal(decode_image(records.paths[index]), pictures[index])
    assert check_images(records, decode=False) == []
    few = read_records({**section, "sample_per_label": 3, "expand_labels": 2})
    assert len(few) == 60
    assert np.bincount(few.labels).tolist() == [6] * 10
    assert few.paths[:30] == few.paths[30:]
    assert few.paths == read_records({**section, "sample_per_label": 3, "expand_labels": 2}).paths
    with pytest.raises(BrokenImage, match="ends before the picture does"):
        decode_image(f"{tmp_path}/cifar-10-batches-bin/data_batch_1.bin#90000000")
    with pytest.raises(UserError, match="class 0 has 10 images, not 11"):
        read_records({**section, "sample_per_label": 11})


def test_fine_classes_of_cifar_100(tmp_path: Path) -> None:
    pictures = write_cifar(tmp_path / "c", ["train.bin", "test.bin"], 2, 5, 100)
    records = read_records({"name": "Cifar100", "data_file": str(tmp_path / "c"), "mode": "test"})
    assert records.labels.tolist() == list(range(5))
    assert np.array_equal(decode_image(records.paths[4]), pictures[9])


def test_wrong_files_of_cifar(tmp_path: Path) -> None:
    section = {"name": "Cifar10", "data_file": str(tmp_path), "mode": "test"}
    assert "there is no test_batch.bin in" in refused(section, tmp_path)
    told = refused({**section, "data_file": None}, tmp_path)
    assert told.startswith("data_file is needed: the folder with test_batch.bin, unpacked from the binary")
    (tmp_path / "test_batch.bin").write_bytes(b"12345")
    assert "test_batch.bin: 5 bytes are not whole pictures of 3073" in refused(section, tmp_path)
    (tmp_path / "test_batch.bin").write_bytes(b"\x0b" + bytes(3072))
    assert "test_batch.bin: label 11 where there are 10 classes" in refused(section, tmp_path)
    archive = tmp_path / "cifar-10-binary.tar.gz"
    archive.write_bytes(b"x")
    assert "is a file: unpack it" in refused({**section, "data_file": str(archive)}, tmp_path)


def parts(folder: Path, *lines: str, **more: Any) -> list[dict[str, Any]]:
    made = []
    for number, text in enumerate(lines):
        (folder / f"{number}.txt").write_text(text, encoding="utf-8")
        made.append(
            {
                "name": "VeriWild",
                "image_root": str(folder),
                "cls_label_path": str(folder / f"{number}.txt"),
                **more,
            }
        )
    return made


def test_a_mixture_is_one_table(tmp_path: Path) -> None:
    config = parts(
        tmp_path, "a.jpg 3 1\nb.jpg 0 2\n", "c.jpg 3 9\n", transform_ops=[{"ResizeImage": {"size": 8}}]
    )
    records = read_records({"name": "MixDataset", "datasets_config": config})
    assert [Path(path).name for path in records.paths] == ["a.jpg", "b.jpg", "c.jpg"]
    assert records.labels.tolist() == [3, 0, 3]
    assert records.cameras is not None
    assert records.cameras.tolist() == [1, 2, 9]
    named = parts(tmp_path, "a.jpg 5\nb.jpg 9\n", "c.jpg 9\n", relabel=True)
    records = read_records({"name": "MixDataset", "datasets_config": named})
    assert records.labels.tolist() == [0, 1, 1]
    assert records.class_names == {0: "5", 1: "9"}


def test_mixtures_that_do_not_fit(tmp_path: Path) -> None:
    uneven = parts(tmp_path, "a.jpg 3 1\n", "c.jpg 3\n")
    told = refused({"name": "MixDataset", "datasets_config": uneven}, tmp_path)
    assert told == "0.txt has cameras and 1.txt has none, so that they cannot be one set"
    assert "at least one data set" in refused({"name": "MixDataset", "datasets_config": []}, tmp_path)
    wrong = [{**uneven[0], "name": "VeriWilds"}]
    assert "datasets_config[0]" in refused({"name": "MixDataset", "datasets_config": wrong}, tmp_path)


def test_operations_as_a_format_means_them() -> None:
    ops = [{"Resize": {"size": 8}}, {"Resize": {"size": 9, "backend": "cv2"}}, {"ToTensor": None}]
    plain = {"name": "VeriWild", "transform_ops": ops}
    assert dataset_operations(plain) == ops
    first, resize, other, last = dataset_operations({**plain, "backend": "pil"})
    assert (first.name, first.arguments) == ("DecodeImage", {"backend": "pil", "to_np": False})
    assert resize.arguments == {"backend": "pil", "size": 8}
    assert other.arguments == {"backend": "cv2", "size": 9}
    assert last.name == "ToTensor"
    faces = dataset_operations({"name": "AdaFaceDataset", "transform": ops})
    assert [op.name for op in faces] == ["DecodeImage", "Resize", "Resize", "ToTensor"]
    assert [next(iter(op)) for op in dataset_operations({"name": "FiveValidationDataset"})] == [
        "ToTensor",
        "Normalize",
    ]
    assert dataset_operations({"name": "ImageNetDataset"}) == []


def test_faces_are_listed_with_their_own_keys(tmp_path: Path) -> None:
    (tmp_path / "label.txt").write_text("a.jpg 4\n", encoding="utf-8")
    section = {"name": "AdaFaceDataset", "root_dir": str(tmp_path), "label_path": str(tmp_path / "label.txt")}
    records = read_records({**section, "transform": [{"ToTensor": None}]})
    assert isinstance(records, Records)
    assert records.labels.tolist() == [4]
    cv2.imwrite(str(tmp_path / "a.jpg"), np.zeros((4, 4, 3), np.uint8))
    assert check_images(records) == []
