"""Several sets as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lookalike.core.errors import UserError
from lookalike.images.formats import formats, read_records
from lookalike.images.records import Records, unify_classes


@formats.register("MixDataset")
def mixture(datasets_config: list[Any]) -> Records:
    """The sets of `datasets_config`, one after the other; each is a block as under `dataset`, with its own
    `transform_ops`.

    A label means the same in all of them: classes that have names are numbered by name, plain numbers stay.
    """
    if not datasets_config:
        raise UserError("MixDataset needs at least one data set in datasets_config")
    return concatenate(
        [read_records(part, f"datasets_config[{index}]") for index, part in enumerate(datasets_config)]
    )


def concatenate(tables: Sequence[Records]) -> Records:
    """The rows of several tables below each other.

    Raises UserError where only some of them have class names, cameras or boxes.
    """
    for name in ("cameras", "boxes"):
        have = [getattr(table, name) is not None for table in tables]
        if any(have) and not all(have):
            yes, no = tables[have.index(True)].origin, tables[have.index(False)].origin
            raise UserError(f"{yes} has {name} and {no} has none, so that they cannot be one set")
    unified = unify_classes(*tables)

    def column(name: str) -> np.ndarray | None:
        parts = [getattr(table, name) for table in unified]
        return None if parts[0] is None else np.concatenate(parts)

    labels = column("labels")
    assert labels is not None
    names: dict[int, str] | None = None
    for table in unified:
        if table.class_names is not None:
            names = {**(names or {}), **table.class_names}
    return Records(
        [path for table in unified for path in table.paths],
        labels,
        column("cameras"),
        ", ".join(dict.fromkeys(table.origin for table in unified)),
        None,
        names,
        column("boxes"),
    )
