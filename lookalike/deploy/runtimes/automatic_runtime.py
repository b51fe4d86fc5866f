"""Backend `auto`: the fastest runtime that is installed, found by a short trial and remembered.

On the CPU onnxruntime begins, so that the first vector comes soon. When there is work for which it pays,
several pictures at once or many after each other, others compute a few of them too, in turns: OpenVINO where
it is installed and, of several pictures, onnxruntime with one thread for each part of the batch. Which was
the fastest is kept in the user's cache, for this processor, number of threads, graph and versions; a second
process does not try again. With one thread and without OpenVINO nothing is tried.

Their features differ by rounding, as those of batches of two sizes do: about 1e-6 of the largest value. In
int8 a value that lies between two of 256 steps may take either.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import time
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from threading import Lock
from typing import Literal

from lookalike.core.errors import LookalikeError, UserError
from lookalike.core.files import NoSpace, write_json
from lookalike.core.log import logger
from lookalike.core.machine import available_threads, cache_folder, processor
from lookalike.deploy.model_folder import ModelFolder
from lookalike.deploy.runtimes.divided_runtime import PART, DividedRuntime
from lookalike.deploy.runtimes.runtime import Batch, Floats, Runtime, device_number, open_runtime

Load = Literal["one", "many"]
"""Pictures that come alone, or several at once."""

FIRST = "onnx"
DIVIDED = "divided"
"""Tried for several pictures alone: a single one cannot be divided."""
PATIENCE: Mapping[Load, int] = {"one": 32, "many": 8}
"""So many pictures have to come alone, or in one batch, before another runtime is opened for them; in one
batch also one for each thread."""

TRIAL_PICTURES = 8
"""At least; a `PART` for each thread."""
TRIAL_SECONDS = 0.5
TRIAL_ROUNDS = 4
TURN = 0.02
"""Seconds of a turn, at least once: more calls of what is soon done."""
PAUSE = 0.1
"""Seconds before each turn: the threads of onnxruntime wait for work in a loop, which takes their cores from
others, for 20 to 50 milliseconds (seen in 1.32)."""
MARGIN = 0.95
"""Another runtime than the first has to take less than this share of its time."""


class AutomaticRuntime:
    """Computes with the runtime that is the fastest for as many pictures. May be called from several threads.

    first: the one that begins. others: by name, what opens each of them. key: names what was measured before
    in the cache. threads: how many compute a batch.
    """

    def __init__(
        self, first: Runtime, others: Mapping[str, Callable[[], Runtime]], key: str, threads: int = 1
    ) -> None:
        self._opened: dict[str, Runtime] = {FIRST: first}
        self.reentrant: bool = getattr(first, "reentrant", False)
        self._others = dict(others)
        self._threads = threads
        self._record = cache_folder() / "runtimes" / f"{key}.json"
        self._known: dict[str, str] | None = None
        self.choices: dict[Load, str] = {}
        self._alone = 0
        self._deciding = Lock()

    def __call__(self, batch: Batch) -> Floats:
        load: Load = "one" if len(batch) == 1 else "many"
        if load not in self.choices and self._enough(batch) and self._deciding.acquire(blocking=False):
            try:
                self.choices[load] = self._chosen(load, batch)
            finally:
                self._deciding.release()
        return self._opened[self.choices.get(load, FIRST)](batch)

    def _enough(self, batch: Batch) -> bool:
        if len(batch) > 1:
            return len(batch) >= max(PATIENCE["many"], self._threads)
        self._alone += 1
        return self._alone >= PATIENCE["one"]

    def _chosen(self, load: Load, batch: Batch) -> str:
        """The fastest that is known or found by trial; it is open then."""
        if self._known is None:
            self._known = read_choices(self._record)
        name = self._known.get(load)
        tried = [each for each in self._others if load == "many" or each != DIVIDED]
        if name is not None and name in (FIRST, *tried):
            if self._open(name):
                logger.debug(f"backend auto: {name} for {load} (from {self._record})")
                return name
            return FIRST
        if not tried:
            return FIRST
        opened = {name: self._opened[name] for name in (FIRST, *tried) if self._open(name)}
        pictures = batch[: max(TRIAL_PICTURES, PART * self._threads)]
        times = trial(opened, pictures)
        name = fastest(times)
        told = ", ".join(f"{each} {1000 * taken / len(pictures):.2f}" for each, taken in times.items())
        logger.debug(f"backend auto: {name} for {load} (milliseconds a picture: {told})")
        if load == "many" and name != DIVIDED:
            self._opened.pop(DIVIDED, None)  # and its copy of the weights
        self._known[load] = name
        keep_choices(self._record, self._known)
        return name

    def _open(self, name: str) -> bool:
        if name not in self._opened:
            try:
                self._opened[name] = self._others[name]()
            except LookalikeError as error:  # it cannot read this graph: the first one can
                logger.debug(f"backend auto: without {name}: {error}")
                del self._others[name]
                return False
        return True


def trial(runtimes: Mapping[str, Runtime], batch: Batch) -> dict[str, float]:
    """Seconds that each takes for a batch: the least of a few rounds in which they take turns, which what
    else the machine does disturbs less than their median.

    Each has computed once before, as shapes are prepared then, and once in each turn, as its threads wake up.
    """
    for run in runtimes.values():
        run(batch)
    times: dict[str, list[float]] = {name: [] for name in runtimes}
    for _ in range(TRIAL_ROUNDS):
        for name, run in runtimes.items():
            time.sleep(PAUSE)
            run(batch)
            now = time.perf_counter()
            until = now + TURN
            while now < until:
                before = now
                run(batch)
                now = time.perf_counter()
                times[name].append(now - before)
        if sum(map(sum, times.values())) > TRIAL_SECONDS:
            break
    return {name: min(each) for name, each in times.items()}


def fastest(times: Mapping[str, float]) -> str:
    """The name with the least time; the first runtime where no other is clearly faster."""
    name = min(times, key=lambda each: times[each])
    return name if times[name] < MARGIN * times[FIRST] else FIRST


def read_choices(record: Path) -> dict[str, str]:
    """What an earlier process found; nothing where it cannot be read."""
    try:
        values = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(values, dict):
        return {}
    return {load: name for load, name in values.items() if isinstance(name, str)}


def keep_choices(record: Path, choices: Mapping[str, str]) -> None:
    """Keep them for the next process; where that cannot be, it tries again."""
    try:
        write_json(record, dict(choices))
    except (OSError, NoSpace) as error:
        logger.debug(f"backend auto: the choice is not kept: {error}")


def open_folder(folder: ModelFolder, threads: int | None, device: str) -> Runtime:
    """The fastest runtime for a model folder; see `open_runtime`."""
    if device_number(device) is not None:
        return _on_a_gpu(folder, threads, device)
    first = open_runtime(folder, FIRST, threads)
    count = threads or available_threads()
    others: dict[str, Callable[[], Runtime]] = {}
    if importlib.util.find_spec("openvino") is not None:
        others["openvino"] = lambda: open_runtime(folder, "openvino", threads)
    if count > 1:
        others[DIVIDED] = lambda: DividedRuntime(open_runtime(folder, FIRST, 1), first, count)
    return AutomaticRuntime(first, others, _key(folder, count, others), count) if others else first


def _on_a_gpu(folder: ModelFolder, threads: int | None, device: str) -> Runtime:
    try:
        return open_runtime(folder, "onnx", threads, device)
    except UserError:
        if importlib.util.find_spec("torch") is None:
            raise
        return open_runtime(folder, "torch", threads, device)


def _key(folder: ModelFolder, threads: int, others: Iterable[str]) -> str:
    """Names all that decides which is faster."""
    import onnxruntime  # it may have come with onnxruntime-gpu, of which no package has this name

    versions = [onnxruntime.__version__, *(_version_of_openvino() for name in others if name == "openvino")]
    told = [processor(), threads, *versions, *others, folder.fingerprint]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:32]


def _version_of_openvino() -> str:
    try:
        return version("openvino")  # without importing it, which takes a while
    except PackageNotFoundError:  # from an archive of its makers
        return str(importlib.import_module("openvino").__version__)
