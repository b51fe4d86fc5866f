"""Embedding the pictures of sources: into memory, into one file, or into shards."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lookalike.core import process
from lookalike.core.errors import BrokenImage, LookalikeError, UserError
from lookalike.core.files import NoSpace, space_for
from lookalike.core.log import logger, warn_once
from lookalike.core.progress import track
from lookalike.deploy.batch.chunk import Chunk
from lookalike.deploy.batch.shards import ShardNote, Shards
from lookalike.deploy.batch.survey import Survey
from lookalike.deploy.embedder import Embedder
from lookalike.images.feature_files import check_kind, write_features
from lookalike.images.feature_table import FeatureTable

SHARD_SIZE = 10_000

Engine = Callable[[Embedder, Survey, Shards, Sequence[int], int], Iterator[None]]
"""Computes and writes the shards of some numbers, in batches of a size; yields once for each picture."""

_LOOK_AGAIN = 0.2
"""Seconds after which a process looks whether the others have finished."""


@dataclass(frozen=True)
class Outcome:
    """What came of an extraction: how many vectors there are, what was broken, and how many shards were
    there before (`reused`) of all `shards`; without shards both are 0.
    """

    vectors: int
    broken: list[BrokenImage]
    shards: int = 0
    reused: int = 0


def embed_pictures(
    model: Embedder, found: Survey, *, batch_size: int = 32, workers: int | None = None
) -> tuple[FeatureTable, list[BrokenImage]]:
    """The vectors of all pictures in memory, and those pictures that could not be read.

    Raises UserError where none could.
    """
    chunk = Chunk(model, found.labels, found.cameras)
    pictures = found.pictures([range(found.total)])
    for _ in track(chunk.embed(pictures, batch_size, workers), "embed", found.total, "pictures"):
        pass
    _refuse_nothing(len(chunk.kept), chunk.broken)
    return chunk.table(), chunk.broken


def extract_to(
    out: str | Path,
    model: Embedder,
    found: Survey,
    *,
    shard_size: int = SHARD_SIZE,
    batch_size: int = 32,
    workers: int | None = None,
    engine: Engine | None = None,
) -> Outcome:
    """Write the vectors of all pictures to a feature file; more than `shard_size` become a folder of shards.

    Shards that are there already are kept: the same call goes on where another was killed. Of several
    processes (`torchrun`) each computes every n-th shard. engine: computes them in the place of this process.

    Raises UserError where `out` cannot be written or holds something else, where no picture could be read,
    and where an engine is given for one shard, and LookalikeError where the disk is full; finished shards
    stay in either case.
    """
    check_kind(out)
    model.verify()  # its fingerprint says to whom shards belong
    if found.total <= shard_size:
        if engine is not None:
            raise UserError(
                f"{found.total} pictures are one shard, and an engine computes several at once: leave "
                "--engine away, or give a smaller --shard-size"
            )
        return _one_file(Path(out), model, found, batch_size, workers)
    shards = Shards(out, found.total, shard_size, _facts(model, found))
    return _Extraction(model, found, shards, batch_size, workers, engine).run()


def _one_file(out: Path, model: Embedder, found: Survey, batch_size: int, workers: int | None) -> Outcome:
    if out.is_dir():
        raise UserError(
            f"{out} is a folder, and {found.total} pictures become one file: name another --out, or remove "
            "it, or give a smaller --shard-size"
        )
    if process.world_size() > 1:
        warn_once(
            f"{found.total} pictures are one shard, so that one process computes them all: --shard-size "
            f"{-(-found.total // process.world_size())} gives each of the {process.world_size()} its part"
        )
        if not process.is_main():
            return Outcome(0, [])
    with _written(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    table, broken = embed_pictures(model, found, batch_size=batch_size, workers=workers)
    with _written(out):
        write_features(out, table)
    return Outcome(len(table), broken)


class _Extraction:
    """The shards of this process, one after the other."""

    def __init__(
        self,
        model: Embedder,
        found: Survey,
        shards: Shards,
        batch_size: int,
        workers: int | None,
        engine: Engine | None,
    ) -> None:
        self.model, self.found, self.shards = model, found, shards
        self.batch_size, self.workers, self.engine = batch_size, workers, engine

    def run(self) -> Outcome:
        shards = self.shards
        with self._storing():
            shards.begin()
        # not of those that are missing: which these are changes while other processes finish theirs
        own = range(process.rank(), len(shards), process.world_size())
        before = [number for number in range(len(shards)) if shards.note(number) is not None]
        missing = [number for number in own if number not in before]
        if before:
            logger.info(
                f"{shards.folder}: {len(before)} of {len(shards)} shards are there already and are kept"
            )
        total = sum(len(shards.range(number)) for number in missing)
        work = self._embed(missing, total)
        if self.engine is not None:
            work = self.engine(self.model, self.found, shards, missing, self.batch_size)
        for _ in track(work, "embed", total, "pictures"):
            pass
        notes = self._notes() if process.is_main() else []
        if notes:
            with self._storing():
                shards.finish(notes)
        vectors = sum(note.vectors for note in notes)
        broken = [each for note in notes for each in note.broken]
        if process.is_main():
            _refuse_nothing(vectors, broken)
        return Outcome(vectors, broken, len(shards), len(before))

    def _embed(self, numbers: Sequence[int], total: int) -> Iterator[None]:
        """Compute and write shards; yields once for each picture that is done."""
        started, done = time.monotonic(), 0
        pictures = self.found.pictures([self.shards.range(number) for number in numbers])
        for number in numbers:
            chunk = Chunk(self.model, self.found.labels, self.found.cameras)
            part = itertools.islice(pictures, len(self.shards.range(number)))
            yield from chunk.embed(part, self.batch_size, self.workers)
            with self._storing():
                self.shards.write(number, chunk)
            done += len(chunk.seen)
            rate = done / (time.monotonic() - started)
            logger.info(
                f"{self.shards.file(number)}: {len(chunk.kept)} vectors; {rate:.0f} pictures/s, "
                f"{_duration((total - done) / rate)} left"
            )

    def _notes(self) -> list[ShardNote]:
        """What all shards say, when all are there; those of other processes are waited for."""
        notes: dict[int, ShardNote] = {}
        while True:
            for number in (each for each in range(len(self.shards)) if each not in notes):
                if (note := self.shards.note(number)) is not None:
                    notes[number] = note
            missing = len(self.shards) - len(notes)
            if not missing:
                return [notes[number] for number in sorted(notes)]
            if process.world_size() == 1:
                raise LookalikeError(
                    f"{missing} shards of {self.shards.folder} vanished after they were written"
                )
            warn_once(f"waiting for shards of the other processes, {missing} are missing")
            time.sleep(_LOOK_AGAIN)

    def _storing(self) -> contextlib.AbstractContextManager[None]:
        return _written(self.shards.folder, self._when_full)

    def _when_full(self) -> str:
        there = sum(self.shards.file(number).is_file() for number in range(len(self.shards)))
        return (
            f": {there} of its {len(self.shards)} shards are finished; free some and give the same command "
            "again, it goes on from there"
        )


@contextlib.contextmanager
def _written(out: Path, when_full: Callable[[], str] = str) -> Iterator[None]:
    """Say in a sentence what a disk does not do."""
    try:
        with space_for(out):
            yield
    except NoSpace as error:
        raise NoSpace(f"{error}{when_full()}") from None
    except OSError as error:
        raise UserError(f"--out {out} cannot be written: {error.strerror or error}") from None


def _facts(model: Embedder, found: Survey) -> dict[str, dict[str, Any]]:
    """What must be the same for an extraction to go on."""
    return {
        "model": {
            "fingerprint": model.fingerprint,
            "preprocessing": model.preprocess.fingerprint(),
            "size": model.size,
            "binarize": model.binarize,
        },
        "sources": {
            "pictures": found.total,
            "digest": found.digest,
            "labels": found.labels,
            "cameras": found.cameras,
        },
        "options": {"precision": computed_in(model)},
    }


def computed_in(model: Embedder) -> str:
    """The precision that PyTorch was told to compute in; other runtimes take that of their graph."""
    return str(getattr(model.runtime, "precision", "fp32"))


def _refuse_nothing(vectors: int, broken: Sequence[BrokenImage]) -> None:
    if not vectors:
        raise UserError(f"none of the {len(broken)} pictures could be read, the first: {broken[0]}")


def _duration(seconds: float) -> str:
    """`3:05:07`, as clocks show it."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
