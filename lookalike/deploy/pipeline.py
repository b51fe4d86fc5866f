"""Reading pictures in threads while the model computes, in bounded memory."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lookalike.core import process
from lookalike.core.errors import BrokenImage, UserError
from lookalike.core.machine import available_threads, threads_asked_for
from lookalike.core.numbers import as_count
from lookalike.deploy.broken import Told
from lookalike.deploy.picture_forms import Source, each_source
from lookalike.images.decode import IN_MEMORY

Batch = NDArray[Any]

Positions = NDArray[np.int64]
MAX_WORKERS = 32
AHEAD = 2
"""Batches that are read, beyond those that are computed."""
BEGUN = 2
"""Batches that a runtime has begun at once, where there is nothing to read."""
TURNS = 4
"""How often each thread takes pictures of a batch."""


class Read(Protocol):
    """Preprocess one picture, into `out` where it fits there; the result is returned. Raises BrokenImage."""

    def __call__(self, source: Source, out: NDArray[Any] | None) -> NDArray[Any]: ...


def default_workers() -> int:
    """Threads of this process: those asked for by OMP_NUM_THREADS, else its share of the cores; at most
    MAX_WORKERS.
    """
    beside = int(os.environ.get("LOCAL_WORLD_SIZE", process.world_size()))
    return min(threads_asked_for() or max(1, available_threads() // beside), MAX_WORKERS)


def check_counts(batch_size: int, workers: int) -> None:
    """Raise UserError where there would be no picture in a batch, or nobody to read it."""
    as_count(batch_size, "batch_size")
    as_count(workers, "workers")


@dataclass
class Pipeline:
    """From pictures to what a model makes of batches of them.

    read: preprocesses one picture; it is called in `workers` threads (OpenCV computes while Python does
        not). compute: the model. reentrant: `compute` may be called in several threads at once, so whoever
        finishes reading a batch computes it; else the thread that asks for the results computes.
    shape, kind: of a preprocessed picture, which is then written where its batch lies; without a shape,
        pictures are stacked, those of one size together.

    A batch is `batch_size` consecutive pictures without the broken ones, so results do not depend on
    timing or on the number of workers.
    """

    read: Read
    compute: Callable[[Batch], NDArray[Any]]
    shape: tuple[int, ...] | None
    kind: type[np.generic]
    batch_size: int = 32
    workers: int = field(default_factory=default_workers)
    reentrant: bool = False

    def __post_init__(self) -> None:
        check_counts(self.batch_size, self.workers)
        self._free: list[NDArray[Any]] = []

    def run(
        self, sources: Iterable[Source], on_broken: Told | None
    ) -> Generator[tuple[Positions, NDArray[Any]], None, None]:
        """Positions of pictures and their results, batch by batch and in order.

        Sources are taken as they are needed, a few batches ahead. Raises the first BrokenImage where
        `on_broken` is None, and what the sources raise, behind the results of those before it. Closing the
        generator ends the threads; nothing is begun after that.
        """
        listed = _Sources(sources, self.batch_size)
        # where workers compute, each may be busy with a batch of its own
        depth = AHEAD + (self.workers if self.reentrant else 0)
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="picture")
        try:
            waiting: deque[_Reading] = deque()
            start = 0
            while True:
                while len(waiting) <= depth and (taken := listed.taken()):
                    waiting.append(self._begin(pool, start, taken))
                    start += len(taken)
                if not waiting:
                    if listed.error is not None:
                        raise listed.error
                    return
                reading = waiting.popleft()
                result = reading.finished.result()
                for position, error in reading.broken:
                    if on_broken is None:
                        raise _named(position, error) from error.__cause__
                    on_broken(position, error)
                if len(reading.positions):
                    yield reading.positions, self._compute(reading) if result is None else result
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _begin(self, pool: ThreadPoolExecutor, start: int, sources: list[Source]) -> _Reading:
        reading = _Reading(start, len(sources), self._place())
        # waking a thread costs more than a small picture does, so each takes some pictures at a time
        some = max(1, self.batch_size // (TURNS * self.workers))
        for index in range(0, len(sources), some):
            pool.submit(self._read_some, reading, index, sources[index : index + some])
        return reading

    def _place(self) -> NDArray[Any] | None:
        if self.shape is None:
            return None
        return self._free.pop() if self._free else np.empty((self.batch_size, *self.shape), self.kind)

    def _read_some(self, reading: _Reading, first: int, sources: list[Source]) -> None:
        for index, source in enumerate(sources, first):
            self._read_one(reading, index, source)
        if reading.were_last(len(sources)):
            self._finish(reading)

    def _read_one(self, reading: _Reading, index: int, source: Source) -> None:
        try:
            out = None if reading.place is None else reading.place[index]
            reading.outcomes[index] = self.read(source, out)
        except BrokenImage as error:
            reading.outcomes[index] = error
        except UserError as error:
            reading.errors[index] = UserError(f"picture {reading.start + index}: {error}")
        except BaseException as error:  # raised again by the thread that asks for the results
            reading.errors[index] = error

    def _finish(self, reading: _Reading) -> None:
        """Called by the thread that read the last picture of a batch."""
        try:
            reading.close()
            result = self._compute(reading) if self.reentrant and len(reading.positions) else None
        except BaseException as error:  # likewise
            reading.finished.set_exception(error)
        else:
            reading.finished.set_result(result)

    def _compute(self, reading: _Reading) -> NDArray[Any]:
        result = self._computed(reading)
        place, reading.place, reading.outcomes = reading.place, None, []
        if place is not None and not np.may_share_memory(result, place):
            self._free.append(place)
        return result

    def _computed(self, reading: _Reading) -> NDArray[Any]:
        """What the model makes of the pictures of a batch that could be read."""
        good = [each for each in reading.outcomes if isinstance(each, np.ndarray)]
        place = reading.place
        if place is not None and all(np.may_share_memory(each, place) for each in good):
            return self.compute(
                place[: len(good)] if not reading.broken else place[reading.positions - reading.start]
            )
        by_size: dict[tuple[int, ...], list[int]] = {}
        for index, picture in enumerate(good):
            by_size.setdefault(picture.shape, []).append(index)
        parts = [self.compute(np.stack([good[index] for index in same])) for same in by_size.values()]
        order = np.argsort([index for same in by_size.values() for index in same])
        return np.concatenate(parts)[order]


def _named(position: int, error: BrokenImage) -> BrokenImage:
    """By its position, where it has no name."""
    return BrokenImage(f"picture {position}", error.reason) if error.path == IN_MEMORY else error


def computed_ahead(
    batch_size: int, pictures: NDArray[Any], begin: Callable[[Batch], Callable[[], NDArray[Any]]]
) -> Generator[tuple[Positions, NDArray[Any]], None, None]:
    """As `Pipeline.run`, for an array of pictures that a model takes as they are: there is nothing to read.

    begin: begins to compute a batch; what it gives waits for the results. Each batch is begun before the one
        before it is waited for.
    """
    waiting: deque[tuple[Positions, Callable[[], NDArray[Any]]]] = deque()
    for start in range(0, len(pictures), batch_size):
        batch = pictures[start : start + batch_size]
        waiting.append((np.arange(start, start + len(batch)), begin(batch)))
        if len(waiting) == BEGUN:
            positions, result = waiting.popleft()
            yield positions, result()
    for positions, result in waiting:
        yield positions, result()


class _Sources:
    """Pictures, so many at a time. What their iterator raises ends them, and is kept as `error`."""

    def __init__(self, sources: Iterable[Source], size: int) -> None:
        self._each, self._size = each_source(sources), size
        self.error: Exception | None = None

    def taken(self) -> list[Source]:
        """The next ones; none at the end."""
        taken: list[Source] = []
        try:
            taken.extend(islice(self._each, self._size))
        except Exception as error:
            self.error = error
        return taken


class _Reading:
    """A batch whose pictures are being read.

    finished: the result of the batch, None where the model has not seen it yet; positions and broken are
    known then.
    """

    positions: Positions
    broken: list[tuple[int, BrokenImage]]

    def __init__(self, start: int, count: int, place: NDArray[Any] | None) -> None:
        self.start, self.place = start, place
        self.outcomes: list[NDArray[Any] | BrokenImage | None] = [None] * count
        self.errors: dict[int, BaseException] = {}
        self.finished: Future[NDArray[Any] | None] = Future()
        self._left = count
        self._lock = threading.Lock()

    def were_last(self, count: int) -> bool:
        """Count pictures as done, and say whether none is left."""
        with self._lock:
            self._left -= count
            return self._left == 0

    def close(self) -> None:
        """Part the good pictures from the broken ones. Raises the first other error."""
        if self.errors:
            raise self.errors[min(self.errors)]
        numbered = list(enumerate(self.outcomes, self.start))
        self.broken = [(position, each) for position, each in numbered if isinstance(each, BrokenImage)]
        good = [position for position, each in numbered if not isinstance(each, BrokenImage)]
        self.positions = np.array(good, np.int64)
