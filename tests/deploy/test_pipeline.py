"""Reading ahead: order, bounded memory, broken pictures, and threads that end."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lookalike.core import machine
from lookalike.core.errors import BrokenImage, UserError
from lookalike.deploy.pipeline import AHEAD, MAX_WORKERS, Pipeline, default_workers


def read(source: Any, out: np.ndarray | None) -> np.ndarray:
    number = source() if callable(source) else source
    if number < 0:
        raise BrokenImage(str(number), "below zero")
    time.sleep(0.0005 * (number % 3))  # so that pictures are finished in another order
    if out is None:
        return np.full((2,), number, np.float32)
    out[:] = number
    return out


def pipeline(**changed: Any) -> Pipeline:
    values: dict[str, Any] = {
        "read": read, "compute": lambda batch: batch * 2, "shape": (2,), "kind": np.float32, "batch_size": 4,
        "workers": 3,
    }  # fmt: skip
    return Pipeline(**{**values, **changed})


BOTH = pytest.mark.parametrize("reentrant", [False, True])


@BOTH
@pytest.mark.parametrize("shape", [(2,), None])
@pytest.mark.parametrize("count", [0, 1, 4, 41])
def test_results_come_in_order(reentrant: bool, shape: tuple[int, ...] | None, count: int) -> None:
    sizes: list[int] = []

    def compute(batch: np.ndarray) -> np.ndarray:
        sizes.append(len(batch))
        return batch * 2

    running = pipeline(compute=compute, reentrant=reentrant, shape=shape)
    parts = list(running.run(iter(range(count)), None))
    assert sorted(sizes, reverse=True) == [4] * (count // 4) + [count % 4] * (count % 4 > 0)
    found = [(p, v) for positions, vectors in parts for p, v in zip(positions, vectors[:, 1], strict=True)]
    assert found == [(i, 2 * i) for i in range(count)]


@BOTH
def test_a_batch_is_consecutive_pictures_without_the_broken_ones(reentrant: bool) -> None:
    sources = [0, -1, 2, 3, -4, -5, -6, -7, 8, lambda: -9, lambda: 10]
    told: list[tuple[int, str, str]] = []

    def on_broken(position: int, error: BrokenImage) -> None:
        told.append((position, error.path, threading.current_thread().name))

    parts = list(pipeline(reentrant=reentrant).run(sources, on_broken))
    assert [positions.tolist() for positions, _ in parts] == [[0, 2, 3], [8, 10]]
    assert [vectors[:, 0].tolist() for _, vectors in parts] == [[0, 4, 6], [16, 20]]
    here = threading.current_thread().name
    assert told == [(i, str(-i), here) for i in (1, 4, 5, 6, 7, 9)]
    with pytest.raises(BrokenImage, match="-1: below zero"):
        list(pipeline(reentrant=reentrant).run(sources, None))


@BOTH
def test_sources_are_taken_as_they_are_needed(reentrant: bool) -> None:
    taken = 0

    def endless() -> Iterator[int]:
        nonlocal taken
        while True:
            taken += 1
            yield taken

    running = pipeline(reentrant=reentrant)
    stream = running.run(endless(), None)
    for number in range(1, 12):
        next(stream)
        held = AHEAD + 1 + (running.workers if reentrant else 0)
        assert taken <= 4 * (number + held)
    assert len(running._free) <= held
    stream.close()
    began = taken
    time.sleep(0.01)
    assert taken == began
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("picture")]


@BOTH
def test_results_are_not_overwritten_by_later_batches(reentrant: bool) -> None:
    """Also those of a model that hands its input through."""
    running = pipeline(compute=lambda batch: batch[:, :1], reentrant=reentrant)
    vectors = np.concatenate([part for _, part in running.run(range(40), None)])
    np.testing.assert_array_equal(vectors[:, 0], np.arange(40))


@BOTH
def test_other_errors_are_raised_where_results_are_asked_for(reentrant: bool) -> None:
    def failing(batch: np.ndarray) -> np.ndarray:
        raise UserError("the model fails")

    with pytest.raises(UserError, match="the model fails"):
        list(pipeline(compute=failing, reentrant=reentrant).run(range(9), None))
    with pytest.raises(TypeError):
        list(pipeline(reentrant=reentrant).run([0, 1, "two"], None))

    def refused() -> int:
        raise UserError("no picture")

    with pytest.raises(UserError, match="picture 2: no picture"):
        list(pipeline(reentrant=reentrant).run([0, 1, refused, refused], None))
    with pytest.raises(UserError, match="batch_size must be a whole number of at least 1, got 0"):
        pipeline(batch_size=0)


@BOTH
def test_an_error_of_the_sources_comes_behind_what_was_finished_before_it(reentrant: bool) -> None:
    failing = RuntimeError("the share is gone")

    def numbers() -> Iterator[int]:
        yield from range(6)
        raise failing

    parts = pipeline(reentrant=reentrant).run(numbers(), lambda position, error: None)
    assert [next(parts)[0].tolist(), next(parts)[0].tolist()] == [[0, 1, 2, 3], [4, 5]]
    with pytest.raises(RuntimeError) as raised:
        next(parts)
    assert raised.value is failing


def test_workers_compute_side_by_side_where_the_model_may_be_called_so() -> None:
    meeting = threading.Barrier(2, timeout=5)

    def compute(batch: np.ndarray) -> np.ndarray:
        meeting.wait()  # broken, unless two are here at once
        return batch

    parts = list(pipeline(compute=compute, reentrant=True, workers=2).run(range(16), None))
    assert [positions[0] for positions, _ in parts] == [0, 4, 8, 12]


def test_workers_are_those_that_this_process_may_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container, beside others of a `torchrun`, and where OMP_NUM_THREADS says how many."""
    for name in ("OMP_NUM_THREADS", "LOCAL_WORLD_SIZE", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    monkeypatch.setattr(machine, "_QUOTA", tmp_path / "cpu.max")
    assert default_workers() == MAX_WORKERS
    (tmp_path / "cpu.max").write_text("600000 100000", encoding="ascii")
    assert default_workers() == 6
    monkeypatch.setenv("WORLD_SIZE", "6")
    assert default_workers() == 1
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert default_workers() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert default_workers() == 5
    monkeypatch.setenv("OMP_NUM_THREADS", "500")
    assert default_workers() == MAX_WORKERS
