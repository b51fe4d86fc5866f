"""Tiny downloads in the layout of each published set, and the lists that must come of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

Lists = dict[str, str]
"""Text of each list file, by its path below the download."""
Layout = Callable[[Path], Lists]

layouts: dict[str, Layout] = {}
_JPEG: bytes = cv2.imencode(".jpg", np.full((12, 16, 3), 120, np.uint8))[1].tobytes()


def _of(*names: str) -> Callable[[Layout], Layout]:
    def register(make: Layout) -> Layout:
        layouts.update(dict.fromkeys(names, make))
        return make

    return register


def images(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(_JPEG)


def text(file: Path, *lines: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _lines(*lines: str) -> str:
    return "".join(f"{line}\n" for line in lines)


@_of("sop")
def _sop(root: Path) -> Lists:
    top = root / "Stanford_Online_Products"
    header = "image_id class_id super_class_id path"
    text(top / "Ebay_train.txt", header, "1 1 1 bicycle_final/1_0.JPG", "2 1 1 bicycle_final/1_1.JPG")
    text(top / "Ebay_test.txt", header, "3 11319 2 chair_final/9_0.JPG", "4 11320 2 chair_final/8_0.JPG")
    images(top, *(f"bicycle_final/1_{n}.JPG" for n in (0, 1)), *(f"chair_final/{n}_0.JPG" for n in (8, 9)))
    folder = top.name
    return {
        "train_list.txt": _lines(
            f"{folder}/bicycle_final/1_0.JPG 1 1", f"{folder}/bicycle_final/1_1.JPG 1 2"
        ),
        "test_list.txt": _lines(
            f"{folder}/chair_final/9_0.JPG 11319 3", f"{folder}/chair_final/8_0.JPG 11320 4"
        ),
    }


@_of("inshop")
def _in_shop(root: Path) -> Lists:
    paths = [f"img/WOMEN/Tees_Tanks/id_0000000{item}/01_{n}.jpg" for item in (1, 2) for n in (1, 2)]
    items, statuses = (1, 1, 2, 2), ("train", "train", "query", "gallery")
    rows = [f"{p}   id_0000000{i}   {s}" for p, i, s in zip(paths, items, statuses, strict=True)]
    text(root / "Eval" / "list_eval_partition.txt", "4", "image_name item_id evaluation_status", *rows)
    images(root / "Img", *paths)
    return {
        "train_list.txt": _lines(f"Img/{paths[0]} 0", f"Img/{paths[1]} 0"),
        "query_list.txt": _lines(f"Img/{paths[2]} 0"),
        "gallery_list.txt": _lines(f"Img/{paths[3]} 0"),
    }


@_of("cub200")
def _cub(root: Path) -> Lists:
    paths = ["001.Albatross/a.jpg", "100.Pelican/b.jpg", "101.Pelican/c.jpg", "200.Yellowthroat/d.jpg"]
    text(root / "images.txt", *(f"{n} {path}" for n, path in enumerate(paths, 1)))
    text(root / "image_class_labels.txt", "1 1", "2 100", "3 101", "4 200")
    images(root / "images", *paths)
    return {
        "train_list.txt": _lines(f"images/{paths[0]} 1 1", f"images/{paths[1]} 100 2"),
        "test_list.txt": _lines(f"images/{paths[2]} 101 3", f"images/{paths[3]} 200 4"),
    }


@_of("veri-wild")
def _veri_wild(root: Path) -> Lists:
    split = root / "train_test_split"
    names = ["00002/000011", "00007/000012", "00003/000013", "00003/000014"]
    header = "id/image;Camera ID;Time;Model;Type;Color"
    text(split / "vehicle_info.txt", header, *(f"{n};{c};x;奥迪;y;z" for c, n in enumerate(names, 7)))
    text(split / "train_list.txt", names[1], names[0])
    made = {"train_list_start0": _lines(f"{names[1]}.jpg 1 8", f"{names[0]}.jpg 0 7")}
    for size in (3000, 5000, 10000):
        text(split / f"test_{size}_query.txt", names[2])
        text(split / f"test_{size}.txt", names[3])
        made[f"test_{size}_id_query"] = _lines(f"{names[2]}.jpg 3 9")
        made[f"test_{size}_id"] = _lines(f"{names[3]}.jpg 3 10")
    images(root / "images", *(f"{name}.jpg" for name in names))
    return {f"train_test_split/{name}.txt": lines for name, lines in made.items()}


@_of("compcars")
def _comp_cars(root: Path) -> Lists:
    split = root / "train_test_split" / "classification"
    paths = [f"78/{model}/2014/{name}.jpg" for model, name in ((100, "a"), (9, "b"), (9, "c"))]
    text(split / "train.txt", *paths[:2])
    text(split / "test.txt", paths[2])
    images(root / "image", *paths)
    for path in paths:
        text((root / "label" / path).with_suffix(".txt"), "1", "1", "2 2 10 10")
    folder = "train_test_split/classification"
    return {
        f"{folder}/train_label.txt": _lines(f"{paths[0]} 1", f"{paths[1]} 0"),
        f"{folder}/test_label.txt": _lines(f"{paths[2]} 0"),
    }


def _cameras(top: str, train: str, query: str, gallery: str, pattern: str) -> Layout:
    def make(root: Path) -> Lists:
        names = [pattern.format(person=p, camera=c) for p, c in ((2, 1), (7, 2), (9, 3))]
        prefix = f"{top}/" if top else ""
        images(root / top, f"{train}/{names[0]}", f"{train}/{names[1]}")
        images(root / top, f"{query}/{names[2]}", f"{gallery}/{names[2]}", f"{gallery}/-1_c1s1_1.jpg")
        return {
            "train_list.txt": _lines(f"{prefix}{train}/{names[0]} 0 0", f"{prefix}{train}/{names[1]} 1 1"),
            "query_list.txt": _lines(f"{prefix}{query}/{names[2]} 9 2"),
            "gallery_list.txt": _lines(f"{prefix}{gallery}/{names[2]} 9 2"),
        }

    return make


_PERSONS = ("bounding_box_train", "query", "bounding_box_test")
layouts["market1501"] = _cameras("Market-1501-v15.09.15", *_PERSONS, "{person:04d}_c{camera}s1_000451_03.jpg")
layouts["dukemtmc"] = _cameras("DukeMTMC-reID", *_PERSONS, "{person:04d}_c{camera}_f0046302.jpg")
layouts["veri776"] = _cameras(
    "", "image_train", "image_query", "image_test", "{person:04d}_c{camera:03d}_00016450_0.jpg"
)


@_of("logodet3k")
def _logo_det(root: Path) -> Lists:
    def annotation(*boxes: tuple[str, int]) -> str:
        objects = "".join(
            f"<object><name>{name}</name><bndbox><xmin>{left}</xmin><ymin>2</ymin><xmax>{left + 5}</xmax>"
            "<ymax>9</ymax></bndbox></object>"
            for name, left in boxes
        )
        return f"<annotation>{objects}</annotation>"

    for logo, name in (("Zara", "zara"), ("Acme", "acme")):
        folder = root / "LogoDet-3K" / "Clothes" / logo
        for number in range(1, 6):
            images(folder, f"{number}.jpg")
            text(folder / f"{number}.xml", annotation((name, 1), (name, 8)))
    paths = {
        logo: [f"Clothes/{logo}/{number}_{box}.jpg" for number in range(1, 6) for box in (0, 1)]
        for logo in ("Acme", "Zara")
    }
    labelled = [(path, label) for label, logo in enumerate(paths) for path in paths[logo]]
    return {
        "LogoDet-3K+train.txt": _lines(*(f"{path} {label}" for path, label in labelled if "/5_" not in path)),
        "LogoDet-3K+val.txt": _lines(*(f"{path} {label}" for path, label in labelled if "/5_" in path)),
    }


@_of("icartoonface")
def _i_cartoon(root: Path) -> Lists:
    train = "personai_icartoonface_rectrain/icartoonface_rectrain"
    test = "personai_icartoonface_rectest/icartoonface_rectest"
    people = [f"personai_icartoonface_rectrain_0000{n}" for n in (0, 3)]
    images(root / train, *(f"{person}/{person}_000.jpg" for person in people))
    rows = ["a.jpg 1 1 9 9 5", "b.jpg 1 1 9 9 -1", "c.jpg 1 1 9 9 5", "d.jpg 1 1 9 9 2", "e.jpg 1 1 9 9 2"]
    text(root / "icartoonface_rectest_info.txt", *rows, "a.jpg c.jpg")
    images(root / test, *(f"{name}.jpg" for name in "abcde"))
    return {
        "train_list.txt": _lines(*(f"{train}/{p}/{p}_000.jpg\t{n}" for n, p in enumerate(people))),
        "query.txt": _lines(f"{test}/c.jpg\t1", f"{test}/e.jpg\t0"),
        "gallery.txt": _lines(f"{test}/a.jpg\t1", f"{test}/d.jpg\t0", f"{test}/b.jpg\t2"),
    }


@_of("aliproduct")
def _ali_products(root: Path) -> Lists:
    images(root, "train/00012/a.jpg", "train/00003/b.jpg", "val/00003/c.jpg", "val/00012/d.jpg")
    return {
        "train_list.txt": _lines("train/00003/b.jpg 0", "train/00012/a.jpg 1"),
        "val_list.txt": _lines("val/00003/c.jpg 0 1", "val/00012/d.jpg 1 2"),
    }


@_of("cars196")
def _cars(root: Path) -> Lists:
    kind = [("relative_im_path", object), ("class", object), ("test", object)]
    rows = [("car_ims/000001.jpg", 1, 0), ("car_ims/000002.jpg", 98, 1), ("car_ims/000003.jpg", 99, 0)]
    matlab(root / "cars_annos.mat", annotations=np.array(rows, dtype=kind))
    images(root, *(row[0] for row in rows))
    return {
        "train_list.txt": _lines("car_ims/000001.jpg 1 1", "car_ims/000002.jpg 98 2"),
        "test_list.txt": _lines("car_ims/000003.jpg 99 3"),
    }


@_of("flowers102")
def _flowers(root: Path) -> Lists:
    matlab(root / "imagelabels.mat", labels=np.array([[77, 1, 102]], np.uint8))
    matlab(root / "setid.mat", trnid=np.array([[2]]), valid=np.array([[3]]), tstid=np.array([[1]]))
    images(root / "jpg", *(f"image_{number:05d}.jpg" for number in (1, 2, 3)))
    return {
        "train_list.txt": _lines("jpg/image_00002.jpg 0"),
        "val_list.txt": _lines("jpg/image_00003.jpg 101"),
        "test_list.txt": _lines("jpg/image_00001.jpg 76"),
    }


def matlab(file: Path, **variables: Any) -> None:
    from scipy.io import savemat

    file.parent.mkdir(parents=True, exist_ok=True)
    savemat(file, variables)


@_of("msmt17")
def _msmt(root: Path) -> Lists:
    top = root / "MSMT17_V1"
    names = {part: f"0003/0003_000_{n:02d}_0303morning_0015_0.jpg" for n, part in enumerate("tvqg", 1)}
    for part, key in (("train", "t"), ("val", "v"), ("query", "q"), ("gallery", "g")):
        text(top / f"list_{part}.txt", f"{names[key]} 3")
        images(top / ("train" if key in "tv" else "test"), names[key])
    return {
        "train_list.txt": _lines(*(f"MSMT17_V1/train/{names[k]} 3 {c}" for c, k in enumerate("tv"))),
        "query_list.txt": _lines(f"MSMT17_V1/test/{names['q']} 3 2"),
        "gallery_list.txt": _lines(f"MSMT17_V1/test/{names['g']} 3 3"),
    }


@_of("gldv2")
def _landmarks(root: Path) -> Lists:
    text(root / "train_clean.csv", "landmark_id,images", "7,abc1 abd2", "1,00ff")
    images(root / "train", "a/b/c/abc1.jpg", "a/b/d/abd2.jpg", "0/0/f/00ff.jpg")
    return {
        "train_list.txt": _lines("train/a/b/c/abc1.jpg 1", "train/a/b/d/abd2.jpg 1", "train/0/0/f/00ff.jpg 0")
    }


@_of("products10k")
def _products(root: Path) -> Lists:
    text(root / "train.csv", "name,class,group", "a.jpg,0,9", "b.jpg,5,9")
    text(root / "test_kaggletest.csv", "name,class,Usage", "c.jpg,5,Public")
    images(root, "train/a.jpg", "train/b.jpg", "test/c.jpg")
    return {
        "train_list.txt": _lines("train/a.jpg 0", "train/b.jpg 1"),
        "test_list.txt": _lines("test/c.jpg 1"),
    }


@_of("fashion-product-images")
def _fashion(root: Path) -> Lists:
    header = "id,gender,masterCategory,subCategory,articleType,productDisplayName"
    rows = ("15970,Men,Apparel,Topwear,Shirts,A shirt", "39386,Men,Apparel,Bottomwear,Jeans,Jeans, blue")
    text(root / "styles.csv", header, *rows)
    images(root / "images", "15970.jpg", "39386.jpg")
    return {"train_list.txt": _lines("images/15970.jpg 1", "images/39386.jpg 0")}


def _naturalist(year: int, top: str) -> Layout:
    def make(root: Path) -> Lists:
        for part, number in (("train", 1), ("val", 2)):
            path = f"{top}/Aves/Corvus corax/{number}.jpg"
            content = {
                "images": [{"id": number, "file_name": path}],
                "annotations": [{"image_id": number, "category_id": 40}],
            }
            text(root / f"{part}{year}.json", json.dumps(content))
            images(root, path)
        return {
            "train_list.txt": _lines(f"{top}/Aves/Corvus corax/1.jpg 0"),
            "val_list.txt": _lines(f"{top}/Aves/Corvus corax/2.jpg 0"),
        }

    return make


layouts["inaturalist2017"] = _naturalist(2017, "train_val_images")
layouts["inaturalist2019"] = _naturalist(2019, "train_val2019")


@_of("food-101")
def _food(root: Path) -> Lists:
    top = root / "food-101"
    text(top / "meta" / "train.txt", "apple_pie/1", "waffles/2")
    text(top / "meta" / "test.txt", "waffles/3")
    images(top / "images", "apple_pie/1.jpg", "waffles/2.jpg", "waffles/3.jpg")
    return {
        "train_list.txt": _lines("food-101/images/apple_pie/1.jpg 0", "food-101/images/waffles/2.jpg 1"),
        "test_list.txt": _lines("food-101/images/waffles/3.jpg 1"),
    }


def _folders(parts: Iterable[tuple[str, str]], numbered: bool = False) -> Layout:
    """A folder per class below a folder for each part: (list file, folder)."""

    def make(root: Path) -> Lists:
        made, count = {}, 0
        for file, folder in parts:
            rows = {"ABBOTT BABBLER/1.jpg": 0, "ABBOTT BABBLER/2.jpg": 0, "OWL/1.jpg": 1}
            images(root / folder, *rows)
            lines = []
            for name, label in rows.items():
                count += 1
                lines.append(f"{folder}{name} {label} {count}" if numbered else f"{folder}{name} {label}")
            made[file] = _lines(*lines)
        return made

    return make


_ONE, _TEST = "train_list.txt", "test_list.txt"
layouts["bird400"] = _folders((("train_list.txt", "train/"), ("val_list.txt", "valid/"), (_TEST, "test/")))
layouts["flowers104"] = _folders(((_ONE, "train/"),))
layouts["cars112"] = _folders(((_ONE, ""),))
layouts["flowerrecognition"] = _folders(((_ONE, "flowers/all/"),))
layouts["fruits-262"] = _folders(((_ONE, "Fruit-262/"),))
layouts["indoor-scenes"] = _folders(((_ONE, "indoorCVPR_09/Images/"),))
layouts["imagenet-sketch"] = _folders(((_TEST, "sketch/"),), numbered=True)
layouts["imdb-face"] = _folders(((_TEST, ""),), numbered=True)


@_of("instre")
def _instre(root: Path) -> Lists:
    paths = ["INSTRE-S1/01a/1.jpg", "INSTRE-S2/01a/1.jpg", "INSTRE-M/01a/1.jpg"]
    images(root, *paths)
    labels = (1, 2, 0)  # in the order of the names INSTRE-M, INSTRE-S1, INSTRE-S2
    return {_TEST: _lines(*(f"{p} {c} {n}" for n, (p, c) in enumerate(zip(paths, labels, strict=True), 1)))}


@_of("gpr1200")
def _gpr(root: Path) -> Lists:
    rows = {"0_a.jpg": "landmarks", "1199_b.jpg": "faces", "250_c.jpg": "inat"}
    images(root / "images", *rows)
    made: Lists = {_TEST: ""}
    for number, (name, domain) in enumerate(rows.items(), 1):
        made[f"test_{domain}_list.txt"] = line = f"images/{name} {name.partition('_')[0]} {number}\n"
        made[_TEST] += line
    return made
