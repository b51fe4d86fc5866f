"""Sets whose images are annotated in tables (CSV) and JSON files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from lookalike.core.errors import UserError
from lookalike.images.standard_sets.download import Download
from lookalike.images.standard_sets.listing import Listing, named_listings

Pairs = Iterator[tuple[str, str]]


def csv_tables(
    image_column: str, class_column: str, suffix: str = "", **parts: tuple[str, str]
) -> Callable[[Download], dict[str, Listing]]:
    """Reader of sets with a CSV file and a folder of images for each part, `train=("train.csv", "train")`."""

    def read(download: Download) -> dict[str, Listing]:
        lists = {}
        for part, (table, folder) in parts.items():
            file, images = download.find(table), download.find(folder)
            rows = download.table(file, image_column, class_column)
            lists[f"{part}_list.txt"] = [(f"{images}/{image}{suffix}", label) for _, (image, label) in rows]
        return named_listings(lists)

    return read


def google_landmarks_v2(download: Download) -> dict[str, Listing]:
    """train_clean.csv `landmark_id,images`: identifiers separated by blanks, image abc… in train/a/b/c."""
    file, images = download.find("train_clean.csv"), download.find("train")

    def pairs() -> Pairs:
        for where, (landmark, identifiers) in download.table(file, "landmark_id", "images"):
            for name in identifiers.split():
                if len(name) < 3:
                    raise UserError(f"{where}: {name!r} is no identifier of an image")
                yield f"{images}/{name[0]}/{name[1]}/{name[2]}/{name}.jpg", landmark

    return named_listings({"train_list.txt": pairs()})


def i_naturalist(year: int) -> Callable[[Download], dict[str, Listing]]:
    """Reader of trainYEAR.json and valYEAR.json: images with id and file_name, annotations with image_id and
    category_id. The file names begin with train_val_imagesYEAR or the like.
    """

    def read(download: Download) -> dict[str, Listing]:
        lists = {}
        for part in ("train", "val"):
            file = download.find(f"{part}{year}.json")
            lists[f"{part}_list.txt"] = list(_annotated(download, file))
        return named_listings(lists)

    return read


def _annotated(download: Download, file: str) -> Pairs:
    content = read_json(download, file)
    try:
        category = {each["image_id"]: str(each["category_id"]) for each in content["annotations"]}
        images = [(str(each["file_name"]), category[each["id"]]) for each in content["images"]]
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{download.root / file}: expected images with id and file_name, and annotations with image_id "
            f"and category_id ({error} is missing)"
        ) from None
    if images:
        top = images[0][0].partition("/")[0]
        above = download.beside(download.find(top), ".")
        for path, label in images:
            yield (path if above == "." else f"{above}/{path}"), label


def read_json(download: Download, file: str) -> Any:
    """What a JSON file of a download says."""
    path = download.root / file
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as JSON: {error}") from None
