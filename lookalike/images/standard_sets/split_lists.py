"""Sets whose download brings its own text lists of images: one reader a list format."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePosixPath

from lookalike.core.errors import UserError
from lookalike.images.list_files import numbered_lines
from lookalike.images.records import number_classes
from lookalike.images.standard_sets.download import Download, whole_number
from lookalike.images.standard_sets.listing import Listing, Row, named_listings


def stanford_online_products(download: Download) -> dict[str, Listing]:
    """Ebay_train.txt, Ebay_test.txt: `image_id class_id super_class_id path` below a header.

    Labels stay as published: 1 to 11318 for training, 11319 to 22634 for the test.
    """

    def rows(name: str) -> Iterator[Row]:
        file = download.find(name)
        for where, (image, label, _, path) in download.rows(file, 4, skip=1):
            yield Row(download.beside(file, path), whole_number(label, where), whole_number(image, where))

    return {
        "train_list.txt": Listing(list(rows("Ebay_train.txt"))),
        "test_list.txt": Listing(list(rows("Ebay_test.txt"))),
    }


def in_shop(download: Download) -> dict[str, Listing]:
    """list_eval_partition.txt: the count, a header, `image item status` with status train, query, gallery.

    Items of the training list are numbered from 0, and so are those of query and gallery, together.
    """
    file = download.find("list_eval_partition.txt", "Eval/list_eval_partition.txt")
    # paths begin with img/, a folder that img.zip makes beside itself
    images = PurePosixPath(download.find("img", "Img/img")).parent
    parts: dict[str, list[tuple[str, str]]] = {"train": [], "query": [], "gallery": []}
    for where, (path, item, status) in download.rows(file, 3, skip=2):
        if status not in parts:
            raise UserError(f"{where}: status {status!r} is none of {', '.join(parts)}")
        parts[status].append(((images / path).as_posix(), item))
    tests = {"query_list.txt": parts["query"], "gallery_list.txt": parts["gallery"]}
    return {**named_listings({"train_list.txt": parts["train"]}), **named_listings(tests)}


def cub_200_2011(download: Download) -> dict[str, Listing]:
    """images.txt `number path`, image_class_labels.txt `number class`: classes 1 to 100 train, the rest test.

    This is the split of metric learning, not that of train_test_split.txt, in which classes are shared.
    """
    file = download.find("images.txt")
    labels = {
        number: whole_number(label, where)
        for where, (number, label) in download.rows(download.beside(file, "image_class_labels.txt"), 2)
    }
    train: list[Row] = []
    test: list[Row] = []
    for where, (number, path) in download.rows(file, 2):
        if number not in labels:
            raise UserError(f"{where}: image {number} has no class in image_class_labels.txt")
        row = Row(download.beside(file, f"images/{path}"), labels[number], whole_number(number, where))
        (train if row.label <= 100 else test).append(row)
    return {"train_list.txt": Listing(train), "test_list.txt": Listing(test)}


def veri_wild(download: Download) -> dict[str, Listing]:
    """train_list.txt and test_N[_query].txt: `vehicle/image`; vehicle_info.txt: `vehicle/image;camera;…`.

    The lists bear the names of the reference, beside the published ones. Vehicles of the training list are
    numbered from 0 in ascending order, those of the tests keep their numbers. A release whose lists have
    these names already, train_list_start0.txt and test_N_id[_query].txt with `path label camera` a line, is
    taken as it is.
    """
    if download.look_for("train_test_split/train_list.txt", "train_list.txt") is None:
        released = download.look_for("train_test_split/train_list_start0.txt")
        if released is not None:
            return _veri_wild_released(download, released)
    information = download.find("train_test_split/vehicle_info.txt", "vehicle_info.txt")
    image_root = download.find("images")
    cameras = {}
    path = download.root / information
    with open(path, encoding="utf-8", errors="replace") as opened:  # models of cars are named in Chinese
        for number, line in enumerate(opened, 1):
            image, *rest = line.strip().split(";")
            if number > 1 and image:
                if not rest:
                    raise UserError(
                        f"{path}:{number}: expected 'vehicle/image;camera;…', got {line.strip()!r}"
                    )
                cameras[image] = whole_number(rest[0], f"{path}:{number}")

    def rows(name: str) -> list[Row]:
        found = []
        for where, (image,) in download.rows(download.beside(information, name), 1):
            if image not in cameras:
                raise UserError(f"{where}: {image} has no line in vehicle_info.txt")
            found.append(Row(f"{image}.jpg", whole_number(image.partition("/")[0], where), cameras[image]))
        return found

    train = rows("train_list.txt")
    start0 = {vehicle: label for label, vehicle in enumerate(sorted({row.label for row in train}))}
    made = {"train_list_start0": [row._replace(label=start0[row.label]) for row in train]}
    for size in (3000, 5000, 10000):
        made[f"test_{size}_id_query"] = rows(f"test_{size}_query.txt")
        made[f"test_{size}_id"] = rows(f"test_{size}.txt")
    folder = "train_test_split"  # where the reference's recipes look for them
    return {f"{folder}/{name}.txt": Listing(found, image_root) for name, found in made.items()}


def _veri_wild_released(download: Download, train: str) -> dict[str, Listing]:
    image_root = download.find("images")
    names = ["train_list_start0.txt"]
    names += [f"test_{size}_{part}.txt" for size in (3000, 5000, 10000) for part in ("id_query", "id")]
    made = {}
    for name in names:
        lines = download.rows(download.beside(train, name), 3)
        rows = [Row(p, whole_number(label, where), whole_number(c, where)) for where, (p, label, c) in lines]
        made[f"train_test_split/{name}"] = Listing(rows, image_root, published=True)
    return made


def comp_cars(download: Download) -> dict[str, Listing]:
    """train_test_split/classification/{train,test}.txt: `make/model/year/image.jpg`; the model is the class.

    The 431 models are numbered from 0 in ascending order.
    """
    file = download.find("train_test_split/classification/train.txt")
    image_root = download.find("image")
    download.find("label")  # the recipe cuts pictures to the boxes in it
    parts: dict[str, list[tuple[str, str]]] = {"train": [], "test": []}
    for part in parts:
        for where, (path,) in download.rows(download.beside(file, f"{part}.txt"), 1):
            folders = path.split("/")
            if len(folders) != 4:
                raise UserError(f"{where}: expected 'make/model/year/image.jpg', got {path!r}")
            parts[part].append((path, folders[1]))
    lists = {f"train_test_split/classification/{part}_label.txt": pairs for part, pairs in parts.items()}
    return named_listings(lists, image_root)


def msmt17(download: Download) -> dict[str, Listing]:
    """list_{train,val,query,gallery}.txt: `path person`; the camera is the third part of a file's name.

    As usual the validation part is trained on as well. Query and gallery lie in `test`.
    """
    anchor = download.find("list_train.txt")

    def rows(part: str, folder: str) -> Iterator[Row]:
        for where, (path, person) in download.rows(download.beside(anchor, f"list_{part}.txt"), 2):
            fields = PurePosixPath(path).name.split("_")
            if len(fields) < 3:
                raise UserError(f"{where}: expected a name such as 0000_000_01_…, got {path!r}")
            camera = whole_number(fields[2], where) - 1  # from 0, as Market1501 and DukeMTMC give them
            yield Row(download.beside(anchor, f"{folder}/{path}"), whole_number(person, where), camera)

    return {
        "train_list.txt": Listing([*rows("train", "train"), *rows("val", "train")]),
        "query_list.txt": Listing(list(rows("query", "test"))),
        "gallery_list.txt": Listing(list(rows("gallery", "test"))),
    }


def food_101(download: Download) -> dict[str, Listing]:
    """meta/train.txt and meta/test.txt: `class/number`, without the suffix .jpg."""
    meta = download.find("meta/train.txt")
    images = download.beside(meta, "../images")
    parts = {}
    for part in ("train", "test"):
        file = download.beside(meta, f"{part}.txt")
        parts[f"{part}_list.txt"] = [
            (f"{images}/{name}.jpg", name.partition("/")[0]) for _, (name,) in download.rows(file, 1)
        ]
    return named_listings(parts)


def i_cartoon_face(download: Download) -> dict[str, Listing]:
    """A folder per person for training; icartoonface_rectest_info.txt: `image left top right bottom person`.

    Images of person -1 are distractors. The published protocol searches each image of a person among one
    other of that person and all distractors. Here the first image of each person and the distractors, each a
    person of its own, are the gallery, and all other images are queries.
    """
    top = _i_cartoon_folder(download, "rectrain")
    train = []
    for folder in sorted((download.root / top).iterdir()):
        if folder.is_dir():
            train += [
                (f"{top}/{folder.name}/{file.name}", folder.name) for file in sorted(folder.glob("*.jpg"))
            ]
    information = download.find("icartoonface_rectest_info.txt")
    test_images = _i_cartoon_folder(download, "rectest")
    query: list[tuple[str, str]] = []
    gallery: dict[str, str] = {}
    distractors: list[str] = []
    for where, fields in _test_images(download, information):
        path, person = f"{test_images}/{fields[0]}", fields[-1]
        if whole_number(person, where) == -1:
            distractors.append(path)
        elif person in gallery:
            query.append((path, person))
        else:
            gallery[person] = path
    _, names = number_classes(list(gallery))
    number = {person: label for label, person in names.items()}
    enrolled = [Row(path, number[person]) for person, path in gallery.items()]
    enrolled += [Row(path, len(number) + index) for index, path in enumerate(distractors)]
    made = {
        **named_listings({"train_list.txt": train}),
        "query.txt": Listing([Row(path, number[person]) for path, person in query]),
        "gallery.txt": Listing(enrolled),
    }
    return {file: replace(listing, delimiter="\t") for file, listing in made.items()}


def _i_cartoon_folder(download: Download, part: str) -> str:
    name = f"icartoonface_{part}"
    return download.find(f"personai_{name}/{name}", name, f"personai_{name}")


def _test_images(download: Download, file: str) -> Iterator[tuple[str, list[str]]]:
    """Lines of an image; the lines of two columns below them, pairs of images, are passed over."""
    path = download.root / file
    for number, line in numbered_lines(path):
        fields = line.split()
        if len(fields) == 6:
            yield f"{path}:{number}", fields
        elif len(fields) != 2:
            raise UserError(f"{path}:{number}: expected 'image left top right bottom person', got {line!r}")
