"""Stopping a run on request: Ctrl-C and SIGTERM end it after the batch in work, in all processes at once."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

from lookalike.core.log import logger
from lookalike.training import distributed


class StopRequest:
    """Remembers the signal that asked for a stop; `signal` is its name, None while nobody asked."""

    def __init__(self) -> None:
        self.signal: str | None = None

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Take note of signals inside the block; a second one ends the process at once."""
        try:
            before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not the main thread: the caller handles signals
            yield
            return
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def agreed(self) -> bool:
        """Whether a signal reached any of the processes, so that all of them stop at the same point."""
        if distributed.any_process(self.signal is not None):
            self.signal = self.signal or "another process"
        return self.signal is not None

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number).name
        logger.warning(f"{self.signal}: finishing the batch and writing a checkpoint (again: stop at once)")
