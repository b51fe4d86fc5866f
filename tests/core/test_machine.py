"""How many threads this machine gives us."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lookalike.core import machine
from lookalike.core.machine import available_threads, cache_folder


@pytest.fixture
def sixteen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of sixteen processors, with nothing asked for; gives the file that would cut their time."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)), raising=False)
    monkeypatch.setattr(machine, "_QUOTA", tmp_path / "cpu.max")
    return tmp_path / "cpu.max"


@pytest.mark.parametrize(
    ("quota", "threads"),
    [
        ("max 100000\n", 16),
        ("400000 100000\n", 4),
        ("250000 100000\n", 3),
        ("50000 100000\n", 1),
        ("6400000 100000\n", 16),
        ("damaged", 16),
    ],
)
def test_the_quota_of_a_container(sixteen: Path, quota: str, threads: int) -> None:
    sixteen.write_text(quota, encoding="ascii")
    assert available_threads() == threads


def test_processors_that_are_listed(sixteen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert available_threads() == 16  # no quota is told
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5})
    assert available_threads() == 2
    sixteen.write_text("400000 100000\n", encoding="ascii")
    assert available_threads() == 2
    monkeypatch.delattr(os, "sched_getaffinity")  # as on macOS
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert available_threads() == 4


@pytest.mark.parametrize(("asked", "threads"), [("6", 6), ("4,2", 4), ("40", 40), ("0", 2), ("many", 2)])
def test_what_is_asked_for_comes_first(
    sixteen: Path, monkeypatch: pytest.MonkeyPatch, asked: str, threads: int
) -> None:
    sixteen.write_text("200000 100000\n", encoding="ascii")
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert available_threads() == threads


def test_tests_keep_nothing_for_the_user() -> None:
    assert not cache_folder().is_relative_to(Path.home() / ".cache")
