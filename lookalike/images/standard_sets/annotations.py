"""Sets whose images are annotated in tables (CSV) and JSON files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from lookalike.core.errors import UserError
from lookalike.images.standard_sets.class_folders import class_folders
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


def ali_products(download: Download) -> dict[str, Listing]:
    """A folder per product in `train`; `val` alike, or flat with val.json: images with image_id and class_id.

    Products are numbered from 0 in ascending order, alike in both lists. The lines of the validation list end
    in the number of the image, so that it can be query and gallery at once.
    """
    annotated = download.look_for("val.json")
    if annotated is None:
        return _numbered_images(class_folders(train=("train",), val=("val",))(download))
    train = class_folders(train=("train",))(download)["train_list.txt"]
    names = train.class_names or {}
    images = download.find("val")
    pairs = []
    for each in _list_of(download, annotated, "images"):
        try:
            pairs.append((f"{images}/{each['image_id']}", str(each["class_id"])))
        except (KeyError, TypeError):
            raise UserError(
                f"{download.root / annotated}: expected image_id and class_id, got {str(each)[:80]}"
            ) from None
    same = [(path, _plain(label)) for path, label in pairs]
    rows = [(row.path, _plain(names[row.label])) for row in train.rows]
    return _numbered_images(named_listings({"train_list.txt": rows, "val_list.txt": same}))


def _numbered_images(made: dict[str, Listing]) -> dict[str, Listing]:
    """The validation list with the number of the image in its third column."""
    val = made["val_list.txt"]
    rows = [row._replace(third=number) for number, row in enumerate(val.rows, 1)]
    return {**made, "val_list.txt": Listing(rows, class_names=val.class_names)}


def _plain(name: str) -> str:
    """The folder 00012 and the class_id 12 mean the same product."""
    return str(int(name)) if name.isdecimal() else name


def _list_of(download: Download, file: str, key: str) -> list[Any]:
    content = read_json(download, file)
    if not isinstance(content, dict) or not isinstance(content.get(key), list):
        raise UserError(f"{download.root / file}: expected an object with a list '{key}'")
    found: list[Any] = content[key]
    return found


def read_json(download: Download, file: str) -> Any:
    """What a JSON file of a download says."""
    path = download.root / file
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as JSON: {error}") from None
