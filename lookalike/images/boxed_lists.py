"""Lists of images of which a box counts, the box in a file of its own: CompCars."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from lookalike.core.errors import UserError
from lookalike.images.formats import formats
from lookalike.images.list_files import read_list, root_prefix
from lookalike.images.records import Records


@formats.register("CompCars")
def comp_cars(
    image_root: str, cls_label_path: str, label_root: str | None = None, bbox_crop: bool = False
) -> Records:
    """A list file with a line `path label` per image, separated by blanks; further columns are ignored.

    bbox_crop: cut each picture to its box. The last line of the file `label_root`/path with the suffix .txt
    is the box, `left top right bottom` in pixels, right and bottom excluded. (The reference looks for the
    suffix at the first dot of the path.)
    """
    columns = read_list(cls_label_path, image_root, None)
    records = Records(columns.paths, columns.labels, None, str(cls_label_path), columns.lines)
    if not bbox_crop:
        return records
    if label_root is None:
        raise UserError("CompCars: bbox_crop needs label_root, the folder of the files with the boxes")
    root = root_prefix(label_root)
    images = root_prefix(image_root)
    boxes = []
    for index, path in enumerate(records.paths):
        relative = PurePosixPath(path.removeprefix(images)).with_suffix(".txt")
        boxes.append(_box(Path(f"{root}{relative}"), records.where(index)))
    return replace(records, boxes=np.array(boxes, dtype=np.int64))


def _box(file: Path, where: str) -> list[int]:
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError as error:
        raise UserError(f"{where}: the file with the box, {file}, cannot be read: {error.strerror}") from None
    fields = lines[-1].split() if lines else []
    try:
        left, top, right, bottom = (int(field) for field in fields)
    except ValueError:
        raise UserError(
            f"{file}:{max(len(lines), 1)}: expected a box 'left top right bottom' in the last line, got "
            f"{' '.join(fields)!r}"
        ) from None
    if not (0 <= left < right and 0 <= top < bottom):
        raise UserError(
            f"{file}:{len(lines)}: a box is 'left top right bottom' with 0 <= left < right and 0 <= top < "
            f"bottom, got {' '.join(fields)!r}"
        )
    return [left, top, right, bottom]
