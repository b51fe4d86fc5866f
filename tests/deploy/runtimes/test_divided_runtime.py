"""A batch is divided among threads, and comes back in order."""

from __future__ import annotations

from threading import Barrier, current_thread

import numpy as np
import pytest

from lookalike.core.errors import UserError
from lookalike.deploy.runtimes.divided_runtime import PART, DividedRuntime
from lookalike.deploy.runtimes.runtime import Batch, Floats


class Recorded:
    """Gives the pictures themselves, and remembers how many came at once and in which threads."""

    def __init__(self) -> None:
        self.counts, self.threads = list[int](), set[str]()

    def __call__(self, batch: Batch) -> Floats:
        self.counts.append(len(batch))
        self.threads.add(current_thread().name)
        return batch


@pytest.mark.parametrize(
    ("threads", "count", "parts"),
    [
        (2, 2, [1, 1]),
        (2, 5, [3, 2]),
        (2, 32, [4] * 8),
        (2, 33, [4] * 3 + [3] * 7),
        (3, 12, [4] * 3),
        (8, 32, [4] * 8),
        (8, 15, [2] * 7 + [1]),
        (8, 7, [1] * 7),
    ],
)
def test_each_thread_has_as_many_pictures(threads: int, count: int, parts: list[int]) -> None:
    alone, together = Recorded(), Recorded()
    batch = np.arange(count, dtype=np.float32).reshape(count, 1)
    np.testing.assert_array_equal(DividedRuntime(alone, together, threads)(batch), batch)
    assert sorted(alone.counts, reverse=True) == parts
    assert max(alone.counts) <= PART
    assert not together.counts


@pytest.mark.parametrize(("threads", "count"), [(2, 0), (2, 1), (2, 3), (8, 6), (8, 9), (8, 12)])
def test_what_does_not_divide_is_computed_together(threads: int, count: int) -> None:
    alone, together = Recorded(), Recorded()
    batch = np.arange(count, dtype=np.float32).reshape(count, 1)
    np.testing.assert_array_equal(DividedRuntime(alone, together, threads)(batch), batch)
    assert together.counts == [count]
    assert not alone.counts


def test_parts_are_computed_at_the_same_time() -> None:
    meeting = Barrier(3, timeout=10)

    def alone(batch: Batch) -> Floats:
        meeting.wait()  # breaks where not all three are there at once
        return batch

    batch = np.zeros((6, 1), np.float32)
    np.testing.assert_array_equal(DividedRuntime(alone, Recorded(), 3)(batch), batch)


def test_an_error_of_a_part_is_that_of_the_batch() -> None:
    def refuse(batch: Batch) -> Floats:
        raise UserError("takes other pictures")

    with pytest.raises(UserError, match="takes other pictures"):
        DividedRuntime(refuse, Recorded(), 2)(np.zeros((4, 1), np.float32))
