"""What a run tells while it goes on."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lookalike.training.tracking import Clock, Means, Tracker, duration, spell


def test_means_go_on_from_saved_sums() -> None:
    whole, first = Means(), Means()
    for value in (1.0, 2.0, 6.0):
        whole.add({"loss": value})
    first.add({"loss": 1.0})
    second = Means(first.sums, first.count)
    second.add({"loss": 2.0})
    second.add({"loss": 6.0})
    assert second.means() == whole.means() == {"loss": 3.0}


def test_a_terminal_shows_bar_and_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    clock = Clock()
    clock.count(64)
    with Tracker(tmp_path, 10, tensorboard=False) as tracker:
        tracker.batch(1, 2, 3, 0.01, {"CELoss": 6.5, "loss": 6.5}, clock)
    shown = capsys.readouterr().err
    for part in ("epoch 1/2", "3/10", "CELoss: 6.50000", "lr 1.00e-02", "images/s", "waiting for pictures"):
        assert part in shown


def test_clock_counts_waiting_apart() -> None:
    clock = Clock()
    assert list(clock.timed([1, 2, 3])) == [1, 2, 3]
    assert 0 <= clock.waited <= clock.seconds
    assert (duration(3671.4), spell({"a": 1.0})) == ("1:01:11", "a: 1.00000")
