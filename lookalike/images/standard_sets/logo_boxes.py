"""LogoDet-3K: logos are cut out of the pictures, by the boxes of their XML files."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2

from lookalike.core.errors import BrokenImage, UserError
from lookalike.core.files import atomic_file
from lookalike.core.progress import track
from lookalike.images.decode import as_rgb, decode_image
from lookalike.images.standard_sets.download import Download
from lookalike.images.standard_sets.listing import Crop, Listing, named_listings

_SIDES = ("xmin", "ymin", "xmax", "ymax")
_EVERY = 5
"""Each fifth picture of a logo is one of the validation list (the reference trains on 80 % of the logos)."""


def logo_det_3k(download: Download) -> dict[str, Listing]:
    """LogoDet-3K/CATEGORY/LOGO/1.jpg, 1.xml: each box becomes an image train/LOGO/… or val/LOGO/….

    The logo of a box is the name in the XML file. All logos of a picture come into the same list, and
    a logo has the same label in both. (How the reference split and numbered its crops is not published.)
    """
    top = download.find("LogoDet-3K")
    parts: dict[str, list[tuple[str, Path, str, tuple[int, int, int, int]]]] = {"train": [], "val": []}
    folders = sorted(f for f in (download.root / top).glob("*/*") if f.is_dir())
    for folder in track(folders, "reading boxes", len(folders), "folders"):
        files = sorted(folder.glob("*.xml"), key=lambda file: (len(file.stem), file.stem))
        for position, file in enumerate(files):
            part = "val" if position % _EVERY == _EVERY - 1 else "train"
            for index, (logo, box) in enumerate(_boxes(file)):
                path = f"{folder.parent.name}/{folder.name}/{file.stem}_{index}.jpg"
                parts[part].append((path, file.with_suffix(".jpg"), logo, box))
    if not parts["train"]:
        raise UserError(f"{download.root / top}: there is no picture with an XML file in CATEGORY/LOGO/")
    named = named_listings(
        {part: [(path, logo) for path, _, logo, _ in found] for part, found in parts.items()}
    )
    return {
        f"LogoDet-3K+{part}.txt": replace(
            named[part],
            image_root=part,
            crops=[Crop(picture, box) for _, picture, _, box in found],
        )
        for part, found in parts.items()
    }


def cut(crop: Crop, target: Path) -> None:
    """Write the part of a picture as a JPEG image of its own.

    Raises BrokenImage for a picture that cannot be decoded, UserError for a box outside it.
    """
    picture = as_rgb(decode_image(str(crop.picture)))
    left, top, right, bottom = crop.box
    part = picture[max(top, 0) : bottom, max(left, 0) : right]
    if part.size == 0:
        height, width = picture.shape[:2]
        raise UserError(f"{crop.picture}: the box {crop.box} lies outside the picture ({width} x {height})")
    done, data = cv2.imencode(".jpg", cv2.cvtColor(part, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 95])
    if not done:
        raise BrokenImage(str(crop.picture), "its part cannot be written as JPEG")
    with atomic_file(target) as file:
        file.write(data.tobytes())


def _boxes(file: Path) -> Iterator[tuple[str, tuple[int, int, int, int]]]:
    """Name and box of each object of a file in the format of Pascal VOC, less those without an area."""
    try:
        text = file.read_text(encoding="utf-8-sig")
        if "<!DOCTYPE" in text or "<!ENTITY" in text:  # entities could grow without bound
            raise UserError(f"{file}: holds a document type, which an annotation does not need")
        root = ElementTree.fromstring(text)
        for each in root.iter("object"):
            box = [
                int(float(each.findtext(f"bndbox/{side}", ""))) for side in ("xmin", "ymin", "xmax", "ymax")
            ]
            name = each.findtext("name", "").strip()
            if not name:
                raise UserError(f"{file}: an object has no name")
            if box[0] < box[2] and box[1] < box[3]:
                yield name, (box[0], box[1], box[2], box[3])
    except (OSError, ElementTree.ParseError, ValueError) as error:
        raise UserError(f"{file} cannot be read as an annotation: {error}") from None
