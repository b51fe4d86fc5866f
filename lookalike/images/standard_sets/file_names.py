"""Sets whose file names tell the class: persons and vehicles seen by cameras, GPR1200."""

from __future__ import annotations

from collections.abc import Callable

from lookalike.core.errors import UserError
from lookalike.images.person_folders import DUKE, MARKET, Layout, read_layout
from lookalike.images.records import IMAGE_SUFFIXES
from lookalike.images.standard_sets.download import Download, whole_number
from lookalike.images.standard_sets.listing import Listing, Row, listing_of

VERI = Layout("VeRi-776", ("",), 20)

_PERSON_FOLDERS = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}
_VEHICLE_FOLDERS = {"train": "image_train", "query": "image_query", "gallery": "image_test"}

GPR_DOMAINS = ("landmarks", "inat", "sketch", "instre", "sop", "faces")
"""The six sources of GPR1200, 200 classes of ten images each, in the order of its evaluation code."""


def _seen_by_cameras(layout: Layout, folders: dict[str, str]) -> Callable[[Download], dict[str, Listing]]:
    def read(download: Download) -> dict[str, Listing]:
        made = {}
        for part, folder in folders.items():
            place = download.find(folder)
            above, _, name = f"./{place}".rpartition("/")
            records = read_layout(layout, str(download.root / above), name, relabel=part == "train")
            made[f"{part}_list.txt"] = listing_of(records, download.root)
        return made

    return read


market_1501 = _seen_by_cameras(MARKET, _PERSON_FOLDERS)
duke_mtmc_reid = _seen_by_cameras(DUKE, _PERSON_FOLDERS)
veri_776 = _seen_by_cameras(VERI, _VEHICLE_FOLDERS)


def gpr_1200(download: Download) -> dict[str, Listing]:
    """images/CLASS_….jpg, class 0 to 1199: one list, and one for each of the six sources.

    The sources follow one another, 200 classes each; each image searches all the others.
    """
    folder = download.find("images")
    rows = []
    names = sorted(
        file.name for file in (download.root / folder).iterdir() if file.name.lower().endswith(IMAGE_SUFFIXES)
    )
    for number, name in enumerate(names, 1):
        label = whole_number(name.partition("_")[0], str(download.root / folder / name))
        if not 0 <= label < 200 * len(GPR_DOMAINS):
            raise UserError(f"{download.root / folder / name}: GPR1200 has classes 0 to 1199, got {label}")
        rows.append(Row(f"{folder}/{name}", label, number))
    made = {"test_list.txt": Listing(rows)}
    for index, domain in enumerate(GPR_DOMAINS):
        own = [row for row in rows if row.label // 200 == index]
        if own:
            made[f"test_{domain}_list.txt"] = Listing(own)
    return made
