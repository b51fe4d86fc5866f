"""Verification sets: lists of pairs of images, of which each shows one identity or two."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from lookalike.core.errors import UserError
from lookalike.core.registry import Swallowed
from lookalike.images.formats import formats
from lookalike.images.list_files import numbered_lines, root_prefix
from lookalike.images.records import Pairs, Records

SUFFIX = "_pairs.txt"
"""What the list of a set is called after its name: `lfw_pairs.txt`."""

_SAME = {"1": True, "true": True, "0": False, "false": False}


@formats.register(
    "FiveValidationDataset",
    "PairDataset",
    swallows={
        "concat_mem_file_name": Swallowed("images are read from their files", (None, "")),
        "dataset": "the names of the lists say which sets there are",
    },
)
def pair_lists(val_data_path: str, image_root: str | None = None, sets: list[str] | None = None) -> Records:
    """Verification sets for `eval_mode: adaface`: a folder with a list `NAME_pairs.txt` for each set.

    A line `path1<TAB>path2<TAB>same` is a pair, with blanks in place of tabs where no path has any; `same` is
    1 for one identity and 0 for two (also true and false). The order of the lines is that of the folds.
    Paths are relative to `image_root`, by default `val_data_path`; the images are aligned faces. `sets`
    chooses among the lists (`sets: [lfw, cfp_fp]`), by default all are taken, in the order of their names.
    An image of several pairs is encoded once.

    The reference reads five fixed sets (agedb_30, cfp_fp, lfw, cplfw, calfw) from arrays in bcolz's format,
    which nobody maintains any more.
    """
    folder = Path(val_data_path)
    if not folder.is_dir():
        raise UserError(f"val_data_path {val_data_path} is no folder")
    found = sorted(path.name.removesuffix(SUFFIX) for path in folder.glob(f"*{SUFFIX}"))
    for name in sets or []:
        if name not in found:
            listed = f" (it has {', '.join(found)})" if found else ""
            raise UserError(f"{val_data_path} has no list {name}{SUFFIX}{listed}")
    if not found:
        raise UserError(
            f"{val_data_path} has no list of pairs: expected a file such as lfw{SUFFIX} with a line "
            "'path1 path2 same' for each pair"
        )
    prefix = root_prefix(val_data_path if image_root is None else image_root)
    positions: dict[str, int] = {}
    pairs = {name: _read(folder / f"{name}{SUFFIX}", prefix, positions) for name in sets or found}
    labels = np.zeros(len(positions), dtype=np.int64)
    return Records(list(positions), labels, origin=str(val_data_path), pairs=pairs)


def _read(list_file: Path, prefix: str, positions: dict[str, int]) -> Pairs:
    """The pairs of a list; images that are new get the next positions."""
    left: list[int] = []
    right: list[int] = []
    same: list[bool] = []
    for number, line in numbered_lines(list_file):
        fields = line.split("\t") if "\t" in line else line.split()
        if len(fields) != 3:
            raise UserError(
                f"{list_file}:{number}: expected 'path1 path2 same' separated by tabs or blanks, got {line!r}"
            )
        truth = _SAME.get(fields[2].strip().lower())
        if truth is None:
            raise UserError(
                f"{list_file}:{number}: 'same' must be 1 (one identity) or 0 (two), got {fields[2]!r}"
            )
        for path, column in zip(fields, (left, right), strict=False):
            full = path if os.path.isabs(path) else prefix + path  # noqa: PTH117  (a Path would be slow)
            column.append(positions.setdefault(full, len(positions)))
        same.append(truth)
    if not same:
        raise UserError(f"{list_file}: the list is empty; expected a line 'path1 path2 same' for each pair")
    return Pairs(np.array(left, np.int64), np.array(right, np.int64), np.array(same, bool))
