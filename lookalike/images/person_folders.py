"""Sets of persons whose file names say who is seen by which camera: Market-1501, DukeMTMC-reID, MSMT17."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lookalike.core.errors import UserError
from lookalike.images.formats import Backend, formats
from lookalike.images.records import Records

_PERSON_AND_CAMERA = re.compile(r"(-?\d+)_c(\d+)")
_JUNK = -1


@dataclass(frozen=True)
class Layout:
    """Where a set lies below the root that recipes name, and how many cameras it has."""

    name: str
    folders: tuple[str, ...]
    cameras: int
    one_digit: bool = False
    """Whether the camera is the first digit after `_c` only: `_c1s1_…` and `_c11s…` are both camera 1."""


MARKET = Layout("Market1501", ("market1501/Market-1501-v15.09.15", "Market-1501-v15.09.15", ""), 6, True)
DUKE = Layout("DukeMTMC", ("dukemtmc/DukeMTMC-reID", "DukeMTMC-reID", ""), 8)
MSMT = Layout("MSMT17", ("msmt17/MSMT17_V1", "MSMT17_V1", ""), 15)


@formats.register("Market1501")
def market_1501(
    image_root: str, cls_label_path: str, relabel: bool | None = None, backend: Backend = "cv2"
) -> Records:
    """Market-1501; `cls_label_path` is one of bounding_box_train, query and bounding_box_test.

    That folder lies in `image_root`/market1501/Market-1501-v15.09.15, or in `image_root` itself. A file
    `0002_c1s1_….jpg` is person 2 seen by camera 1, whose number is 0 here. Files of person -1 (no person) are
    left out, person 0 (in the background) stays. Persons are numbered from 0, in ascending order, where the
    name of the folder holds `train`, unless `relabel` says otherwise. `backend: pil` decodes and resizes with
    Pillow. (The reference decodes with Pillow in any case, which differs by a level or two.)
    """
    return read_layout(MARKET, image_root, cls_label_path, relabel)


@formats.register("DukeMTMC")
def duke_mtmc(
    image_root: str, cls_label_path: str, relabel: bool | None = None, backend: Backend = "cv2"
) -> Records:
    """DukeMTMC-reID, in `image_root`/dukemtmc/DukeMTMC-reID or in `image_root` itself: as Market1501.

    Images are in the order of their names; the reference takes them as the disk gives them.
    """
    return read_layout(DUKE, image_root, cls_label_path, relabel)


@formats.register("MSMT17")
def msmt_17(image_root: str, cls_label_path: str, relabel: bool | None = None) -> Records:
    """MSMT17 with flat folders, in `image_root`/msmt17/MSMT17_V1 or in `image_root` itself: as DukeMTMC."""
    return read_layout(MSMT, image_root, cls_label_path, relabel)


def read_layout(layout: Layout, image_root: str, subfolder: str, relabel: bool | None) -> Records:
    """The table of one folder of a set; see `market_1501` for the rules of names."""
    root = Path(image_root)
    places = [root / folder / subfolder for folder in layout.folders]
    folder = next((place for place in places if place.is_dir()), None)
    if folder is None:
        looked = ", ".join(map(str, places))
        raise UserError(f"{layout.name}: there is no folder '{subfolder}' (looked for {looked})")
    paths, persons, cameras = [], [], []
    for path in sorted(folder.glob("*.jpg")):
        found = _PERSON_AND_CAMERA.search(path.name)
        if found is None:
            raise UserError(
                f"{path}: a file of {layout.name} is called PERSON_cCAMERA…, such as 0002_c1s1_000451_03.jpg"
            )
        person, camera = int(found[1]), int(found[2][:1] if layout.one_digit else found[2])
        if person == _JUNK:
            continue
        if person < 0 or not 1 <= camera <= layout.cameras:
            raise UserError(
                f"{path}: {layout.name} has persons from 0 on and cameras 1 to {layout.cameras}, got person "
                f"{person} and camera {camera}"
            )
        paths.append(str(path))
        persons.append(person)
        cameras.append(camera - 1)
    if not paths:
        raise UserError(f"{folder}: no images (*.jpg) in it")
    labels, names = np.array(persons, np.int64), None
    if ("train" in subfolder) if relabel is None else relabel:
        distinct, labels = np.unique(labels, return_inverse=True)
        names = {number: str(person) for number, person in enumerate(distinct.tolist())}
    return Records(
        paths, labels.astype(np.int64).reshape(-1), np.array(cameras, np.int64), str(folder), None, names
    )
