"""The shards of a large extraction: which pictures each holds, which are finished, and whose they are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lookalike.core.errors import BrokenImage, UserError
from lookalike.core.files import write_json
from lookalike.core.log import warn_once
from lookalike.deploy.batch.chunk import Chunk
from lookalike.images.feature_files import read_note, write_features
from lookalike.images.feature_shards import FORMAT, STATE, part_name, read_state

_UNSAID = {"options": {"precision": "fp32"}}
"""What holds where a state says nothing of it."""


@dataclass(frozen=True)
class ShardNote:
    """What a finished shard says of itself; it stands in its file, so that both are there or none is."""

    vectors: int
    broken: Sequence[BrokenImage]

    def to_json(self) -> str:
        broken = [(each.path, each.reason) for each in self.broken]
        return json.dumps({"vectors": self.vectors, "broken": broken})

    @classmethod
    def from_json(cls, text: str) -> ShardNote:
        values = json.loads(text)
        return cls(values["vectors"], [BrokenImage(*each) for each in values["broken"]])


class Shards:
    """A folder of shards: shard k holds the pictures from k · size on, in the order of their sources.

    What is in a shard depends on the sources and on `size` alone, not on who computes it or when: a process
    that was killed leaves the finished ones behind, and several processes write one set.

    facts: the sections `model`, `sources` and `options` of the state. Of each, all values must be the same
    for an extraction to go on.
    """

    def __init__(self, folder: str | Path, total: int, size: int, facts: dict[str, dict[str, Any]]) -> None:
        self.folder, self.total, self.size = Path(folder), total, size
        self.suffix = self.folder.suffix.lower()
        options = {**facts.get("options", {}), "shard_size": size, "suffix": self.suffix}
        self.facts = {**facts, "options": options}

    def __len__(self) -> int:
        return -(-self.total // self.size)

    def range(self, number: int) -> range:
        """The positions of the pictures of a shard."""
        return range(number * self.size, min((number + 1) * self.size, self.total))

    def file(self, number: int) -> Path:
        return self.folder / part_name(number, self.suffix)

    def begin(self) -> None:
        """Make the folder, or see that what was begun there is the same work.

        Raises UserError where it is another's, or something else; and OSError.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise UserError(
                f"{self.folder} is a file, and {self.total} pictures become a folder of {len(self)} shards: "
                "remove it, or name another --out, or write one file with a larger --shard-size"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        # another process may begin the same at the same time: its state comes before anything else of it
        foreign = sorted(each.name for each in self.folder.iterdir() if not each.name.startswith(f".{STATE}"))
        if (self.folder / STATE).is_file():
            self._compare(read_state(self.folder))
        elif foreign:
            raise UserError(
                f"{self.folder} holds no vectors of 'lookalike embed' but {foreign[0]}: name another --out"
            )
        else:
            self._write_state(None)

    def note(self, number: int) -> ShardNote | None:
        """What a finished shard says; None for one that is not there, or is damaged."""
        file = self.file(number)
        if not file.is_file():
            return None
        try:
            return ShardNote.from_json(read_note(file) or "")
        except (UserError, ValueError, KeyError, TypeError) as error:
            warn_once(f"{file} is damaged and made anew: {error}")
            return None

    def write(self, number: int, chunk: Chunk) -> None:
        """Put a finished shard in its place. Raises UserError where pictures are missing, and OSError."""
        if len(chunk.seen) != len(self.range(number)):
            raise UserError(
                f"pictures have vanished while others were embedded: {self.file(number).name} should hold "
                f"{len(self.range(number))}, and {len(chunk.seen)} are left of them; give the command again "
                "when they are back"
            )
        table = chunk.table()
        write_features(self.file(number), table, ShardNote(len(table), chunk.broken).to_json())

    def finish(self, notes: Sequence[ShardNote]) -> None:
        """Say in the state that all is done, and what was broken. Raises OSError."""
        broken = [{"path": each.path, "reason": each.reason} for note in notes for each in note.broken]
        self._write_state({"vectors": sum(note.vectors for note in notes), "broken": broken})

    def _write_state(self, finished: dict[str, Any] | None) -> None:
        told = {"format": FORMAT, "pictures": self.total, "shards": len(self), **self.facts}
        write_json(self.folder / STATE, {**told, "finished": finished})

    def _compare(self, state: dict[str, Any]) -> None:
        for section, what in (
            ("model", "another model"),
            ("sources", "other pictures"),
            ("options", "other options"),
        ):
            told, here = state.get(section), self.facts[section]
            there = {**_UNSAID.get(section, {}), **(told if isinstance(told, dict) else {})}
            for key in [*here, *(key for key in there if key not in here)]:
                was, now = there.get(key), here.get(key)
                if was != now:
                    raise UserError(
                        f"{self.folder} was begun with {what} ({key.replace('_', ' ')}: {_short(was)}, now "
                        f"{_short(now)}): give the command it was begun with, or name another --out, or "
                        "remove the folder"
                    )


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 24 else f"{text[:12]}…"
