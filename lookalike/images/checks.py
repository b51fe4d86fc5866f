"""What can be wrong with records before the first minute of training: labels that do not fit, images that
are not there.
"""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import numpy as np

from lookalike.core.errors import BrokenImage, UserError
from lookalike.core.progress import track
from lookalike.images.decode import decode_image
from lookalike.images.packed import packed_address
from lookalike.images.records import Records

_BLOCK = 256


def check_labels(records: Records, class_num: int) -> None:
    """Raise UserError when a label does not fit a classifier of `class_num` classes."""
    wrong = records.labels >= class_num
    if not wrong.any():
        return
    index = int(np.argmax(wrong))
    highest = int(records.labels.max())
    distinct = records.num_classes
    if distinct <= class_num:
        remedy = (
            f"set class_num to {highest + 1}, "
            f"or relabel: True to number the {distinct} different labels from 0"
        )
    else:
        remedy = f"there are {distinct} different labels; set class_num to {highest + 1}"
        if distinct <= highest:
            remedy += f", or to {distinct} together with relabel: True"
    raise UserError(
        f"{records.where(index)}: label {int(records.labels[index])} does not fit class_num {class_num}, "
        f"which allows 0 to {class_num - 1}: {remedy}"
    )


def check_images(records: Records, workers: int = 8, decode: bool = True) -> list[tuple[int, str]]:
    """Look at every image and return (index, reason) of each that is missing, empty or (`decode`) broken.

    Without `decode` files are only looked for. Threads do the work: decoding leaves Python's lock.
    """

    def look(start: int) -> list[str | None]:
        return [_reason(path, decode) for path in records.paths[start : start + _BLOCK]]

    with ThreadPoolExecutor(max(1, workers)) as pool:
        reasons = chain.from_iterable(pool.map(look, range(0, len(records), _BLOCK)))
        seen = enumerate(track(reasons, "looking at images", len(records), "images"))
        return [(index, reason) for index, reason in seen if reason]


def _reason(path: str, decode: bool) -> str | None:
    if decode:
        try:
            decode_image(path)
        except BrokenImage as error:
            return error.reason
        return None
    packed = packed_address(path)
    try:
        status = Path(packed[0] if packed else path).stat()
    except OSError as error:
        return "the file does not exist" if isinstance(error, FileNotFoundError) else str(error.strerror)
    if stat.S_ISDIR(status.st_mode):
        return "is a folder"
    if not stat.S_ISREG(status.st_mode):
        return "is no regular file"
    return None if status.st_size else "the file is empty"
