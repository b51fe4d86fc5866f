"""A feature file in parts: a folder that is read like one file.

    vectors.parquet/
      _extraction.json      what it is made of, and how many parts there are when all is done
      part-00000.parquet    the vectors of the first pictures, part-00001.parquet those of the next, …

Each part is a feature file of its own. `lookalike embed` writes such a folder where there are many pictures.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lookalike.core.errors import UserError

STATE = "_extraction.json"
FORMAT = 1


def is_sharded(path: str | Path) -> bool:
    """Whether this is a folder with the parts of a feature file, all of them or not."""
    return (Path(path) / STATE).is_file()


def part_name(number: int, suffix: str) -> str:
    """The file of a part, `part-00003.parquet`; their names sort as their numbers do, up to 99,999."""
    return f"part-{number:05d}{suffix}"


def read_state(folder: str | Path) -> dict[str, Any]:
    """What the folder says of itself. Raises UserError where that is damaged, or of a newer version."""
    file = Path(folder) / STATE
    try:
        state = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file} is damaged: {error}") from None
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        told = state.get("format") if isinstance(state, dict) else None
        raise UserError(f"{file}: format {told} is not the format {FORMAT} that this version reads")
    options = state.get("options")
    is_told = isinstance(options, dict) and options.get("suffix") in (".npz", ".parquet")
    if not (is_told and all(isinstance(state.get(key), int) for key in ("shards", "pictures"))):
        raise UserError(f"{file} is damaged: it does not say how many shards there are, and of which kind")
    return state


def parts_of(folder: str | Path) -> Sequence[Path]:
    """The files of all parts, in order. Raises UserError where one is not there, as `read_state`."""
    state = read_state(folder)
    files = [
        Path(folder) / part_name(number, state["options"]["suffix"]) for number in range(state["shards"])
    ]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise UserError(
            f"{folder}: {len(missing)} of its {len(files)} shards are not there yet, the first is "
            f"{missing[0]}: give the command that writes it again, it goes on where it stopped"
        )
    return files
