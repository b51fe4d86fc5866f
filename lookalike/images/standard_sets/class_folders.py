"""Sets with a folder for each class: bird400, fruits-262, INSTRE, ImageNet-Sketch and many more."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from lookalike.core.errors import UserError
from lookalike.images.formats import folder as read_class_folders
from lookalike.images.records import IMAGE_SUFFIXES, unify_classes
from lookalike.images.standard_sets.download import Download
from lookalike.images.standard_sets.listing import Listing, named_listings

Reader = Callable[[Download], dict[str, Listing]]


def class_folders(instances: bool = False, **parts: tuple[str, ...]) -> Reader:
    """Reader of sets with a folder per class below one folder for each part.

    parts: `train=("train", "Train")` makes train_list.txt of the first of these folders that is there; the
    name '' is the download itself. instances: number the images, see `named_listings`.
    """

    def read(download: Download) -> dict[str, Listing]:
        tables = {}
        for part, names in parts.items():
            top = _top_of_classes(download, names)
            tables[f"{part}_list.txt"] = read_class_folders(str(download.root / top))
        unified = unify_classes(*tables.values())
        pairs = {
            file: [
                (Path(path).relative_to(download.root).as_posix(), table.name_of(label))
                for path, label in zip(table.paths, table.labels.tolist(), strict=True)
            ]
            for file, table in zip(tables, unified, strict=True)
        }
        return named_listings(pairs, instances=instances)

    return read


def class_folders_of_domains(domains: tuple[str, ...], image_list: str) -> Reader:
    """Reader of sets with a folder per class below several folders that make one set together: INSTRE.

    Classes of the same name in two domains are two classes.
    """

    def read(download: Download) -> dict[str, Listing]:
        pairs = []
        for domain in domains:
            top = download.find(domain)
            table = read_class_folders(str(download.root / top))
            pairs += [
                (Path(path).relative_to(download.root).as_posix(), f"{domain}/{table.name_of(label)}")
                for path, label in zip(table.paths, table.labels.tolist(), strict=True)
            ]
        return named_listings({image_list: pairs}, instances=True)

    return read


def ali_products(download: Download) -> dict[str, Listing]:
    """train/00000 … and val/00000 …: products are numbered from 0 in ascending order, alike in both lists.

    The validation list is query and gallery at once, so that its lines end in the number of the image.
    """
    made = class_folders(train=("train",), val=("val",))(download)
    val = made["val_list.txt"]
    rows = [row._replace(third=number) for number, row in enumerate(val.rows, 1)]
    return {**made, "val_list.txt": replace(val, rows=rows)}


def _top_of_classes(download: Download, names: tuple[str, ...]) -> str:
    """The folder that holds the folders of the classes.

    Where the download itself is meant, and holds one folder and no image, that folder is taken, and so on.
    """
    named = tuple(name for name in names if name)
    place = download.look_for(*named) if named else None
    if place is not None:
        return place
    if "" not in names:
        return download.find(*named)
    folder = download.root
    while True:
        below, images = _content(folder)
        if images or len(below) != 1 or not _content(folder / below[0])[0]:
            break
        folder = folder / below[0]
    if not below:
        raise UserError(
            f"there is no folder of a class in {folder}, and nothing is downloaded: {download.what}"
        )
    return folder.relative_to(download.root).as_posix()


def _content(folder: Path) -> tuple[list[str], bool]:
    """Folders in a folder, and whether there are images beside them."""
    with os.scandir(folder) as entries:
        listed = [entry for entry in entries if not entry.name.startswith(".")]
    images = any(entry.name.lower().endswith(IMAGE_SUFFIXES) for entry in listed if entry.is_file())
    return sorted(entry.name for entry in listed if entry.is_dir()), images
