"""Tiny pictures in the file format of each data set that a recipe names, at the place where it looks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tests.configs.table import Row

CLASSES, CAMERAS = 6, 3
FACE = 112
"""Side of a face that is aligned for the network."""
PER_CLASS = {"train": 8, "query": 2, "gallery": 3}
"""Pictures a class by the purpose of a data set; what is scored without a gallery counts as one."""

_PURPOSES = {"Train": "train", "UnLabelTrain": "train", "Query": "query", "Gallery": "gallery"}


@dataclass(frozen=True)
class Picture:
    """What a line of a list says."""

    label: int
    number: int
    part: str

    @property
    def camera(self) -> int:
        # so that each query finds its class under another camera
        return (self.number + (self.part == "gallery")) % CAMERAS

    @property
    def name(self) -> str:
        return f"{self.part}_{self.label}_{self.number}.jpg"


def write_pictures(data: Mapping[str, Any], row: Row) -> None:
    """Write what the blocks of a recipe's `DataLoader` read, below the working folder.

    A list that several blocks name is written for the first of them.
    """
    for part, section in data_sets(data):
        WRITERS[section["name"]](section, _listed(part, row), row)


def data_sets(data: Mapping[str, Any], part: str = "gallery") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The `dataset` sections of a block and those below it, each with its purpose."""
    for key, value in data.items():
        if key == "dataset":
            yield part, value
        elif isinstance(value, Mapping):
            yield from data_sets(value, _PURPOSES.get(key, part))


def _listed(part: str, row: Row) -> list[Picture]:
    labels = [row.first_label + row.label_step * index for index in range(CLASSES)]
    return [Picture(label, number, part) for label in labels for number in range(PER_CLASS[part])]


def image_of(picture: Picture, height: int, width: int) -> np.ndarray:
    """A patch of the colour of its class on noise: (height, width, 3)."""
    generator = np.random.default_rng([picture.label, picture.number, *picture.part.encode()])
    image = generator.integers(0, 60, (height, width, 3), dtype=np.uint8)
    colour = np.random.default_rng(picture.label).integers(90, 255, 3).tolist()
    top, left = generator.integers(2, 10, 2).tolist()
    cv2.rectangle(image, (left, top), (left + width * 2 // 3, top + height * 2 // 3), colour, -1)
    return image


def draw(path: Path, picture: Picture, height: int = 48, width: int = 48) -> None:
    """Write a picture as a JPEG file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image_of(picture, height, width))


def _write_list(
    section: Mapping[str, Any], pictures: list[Picture], line: Callable[[Picture], str], side: int = 48
) -> None:
    file, root = Path(section["cls_label_path"]), Path(section["image_root"])
    if file.exists():
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(line(picture) + "\n" for picture in pictures), encoding="utf-8")
    for picture in pictures:
        draw(root / picture.name, picture, side, side)


def _image_net(section: Mapping[str, Any], pictures: list[Picture], row: Row) -> None:
    delimiter = section.get("delimiter", " ")
    _write_list(section, pictures, lambda picture: f"{picture.name}{delimiter}{picture.label}")


def _i_cartoon(section: Mapping[str, Any], pictures: list[Picture], row: Row) -> None:
    _write_list(section, pictures, lambda picture: f"{picture.name}\t{picture.label}")


def _veri_wild(section: Mapping[str, Any], pictures: list[Picture], row: Row) -> None:
    def line(picture: Picture) -> str:
        number = {"camera": picture.camera, "image": pictures.index(picture) + 1}
        last = f" {number[row.third_column]}" if row.third_column else ""
        return f"{picture.name} {picture.label}{last}"

    _write_list(section, pictures, line)


def _comp_cars(section: Mapping[str, Any], pictures: list[Picture], row: Row) -> None:
    _write_list(section, pictures, lambda picture: f"{picture.name} {picture.label} {picture.camera}")
    for picture in pictures:
        box = (Path(section["label_root"]) / picture.name).with_suffix(".txt")
        box.parent.mkdir(parents=True, exist_ok=True)
        box.write_text(f"{picture.camera}\n1\n4 4 44 40\n", encoding="utf-8")


def _persons(folder: str, name: Callable[[int, int, int], str]) -> Callable[..., None]:
    """Folders of pictures whose names tell the person and the camera; among those to search, strangers."""

    def write(section: Mapping[str, Any], pictures: list[Picture], row: Row) -> None:
        inside = Path(section["image_root"]) / folder / section["cls_label_path"]
        for picture in pictures:
            person, camera = 3 * picture.label + 2, picture.camera + 1
            draw(inside / name(person, camera, picture.number), picture, 64, 32)
        if section["cls_label_path"] == "bounding_box_test":
            draw(inside / name(0, 1, 0), Picture(0, 99, "gallery"), 64, 32)

    return write


def _market_name(person: int, camera: int, number: int) -> str:
    return f"{person:04d}_c{camera}s1_{number:06d}_00.jpg"


def _duke_name(person: int, camera: int, number: int) -> str:
    return f"{person:04d}_c{camera}_f{number:07d}.jpg"


def _faces(section: Mapping[str, Any], pictures: list[Picture], row: Row) -> None:
    listed = {"cls_label_path": section["label_path"], "image_root": section["root_dir"]}
    _write_list(listed, pictures, lambda picture: f"{picture.name} {picture.label}", FACE)


def _face_pairs(section: Mapping[str, Any], pictures: list[Picture], row: Row) -> None:
    """Two of the sets of pairs; each has as many pairs of one person as of two, fold by fold."""
    folder = Path(section["val_data_path"])
    lines = []
    for picture in pictures:
        draw(folder / picture.name, picture, FACE, FACE)
        for step in (1, PER_CLASS["gallery"]):
            other = pictures[(pictures.index(picture) + step) % len(pictures)]
            lines.append(f"{picture.name}\t{other.name}\t{int(picture.label == other.label)}\n")
    for name in ("lfw", "cfp_fp"):
        (folder / f"{name}_pairs.txt").write_text("".join(lines), encoding="utf-8")


def _cifar(training: list[str], test: str, labels: int) -> Callable[..., None]:
    """The binary version of CIFAR: for each picture its labels and its planes, without anything between."""

    def write(section: Mapping[str, Any], pictures: list[Picture], row: Row) -> None:
        folder = Path(section["data_file"])
        folder.mkdir(parents=True, exist_ok=True)
        files = training if section["mode"] == "train" else [test]
        for number, file in enumerate(files):
            rows = [
                bytes([picture.label] * labels) + image_of(picture, 32, 32).transpose(2, 0, 1).tobytes()
                for picture in pictures[number :: len(files)]
            ]
            (folder / file).write_bytes(b"".join(rows))

    return write


WRITERS: dict[str, Callable[[Mapping[str, Any], list[Picture], Row], None]] = {
    "ImageNetDataset": _image_net,
    "ICartoonDataset": _i_cartoon,
    "VeriWild": _veri_wild,
    "CompCars": _comp_cars,
    "Market1501": _persons("market1501/Market-1501-v15.09.15", _market_name),
    "DukeMTMC": _persons("dukemtmc/DukeMTMC-reID", _duke_name),
    "AdaFaceDataset": _faces,
    "FiveValidationDataset": _face_pairs,
    "Cifar10": _cifar([f"data_batch_{number}.bin" for number in range(1, 6)], "test_batch.bin", 1),
    "Cifar100": _cifar(["train.bin"], "test.bin", 2),
}
