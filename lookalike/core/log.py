"""Logging: one logger for the package, to stderr and, while training, to a file."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Hashable
from pathlib import Path

from lookalike.core import process
from lookalike.core.files import space_for

logger = logging.getLogger("lookalike")
_told: set[Hashable] = set()


def warn_once(message: str, key: Hashable | None = None) -> None:
    """Log a warning the first time this message is seen in the process; ranks other than 0 stay silent.

    Messages with the same `key` count as one, and the first is told: a key of a recipe that stands in
    several places.
    """
    _tell_once(message, key, {})


def note_once(message: str, key: Hashable | None = None) -> None:
    """`warn_once` for what does no harm, such as a key without effect: `is_note` knows it by its record."""
    _tell_once(message, key, {"lookalike_note": True})


def is_note(record: logging.LogRecord) -> bool:
    """Whether a warning is one of `note_once`."""
    return bool(getattr(record, "lookalike_note", False))


def _tell_once(message: str, key: Hashable | None, marks: dict[str, bool]) -> None:
    key = message if key is None else key
    if key not in _told and process.is_main():
        _told.add(key)
        logger.warning(message, extra=marks)


def forget_warnings() -> None:
    """Let `warn_once` speak again; a new run in the same process starts with this."""
    _told.clear()


def start_console(level: int = logging.INFO) -> None:
    """Send the package's messages to stderr. The library itself never does this: an application decides."""
    if not any(getattr(handler, "lookalike_console", False) for handler in logger.handlers):
        handler = _Stderr()
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
    logger.setLevel(level if process.is_main() else logging.ERROR)
    logger.propagate = False


def start_file(path: Path) -> logging.Handler:
    """Append the package's messages to a file; the caller closes the handler with `stop_file`.

    Raises NoSpace where the disk is full. One that becomes full later is told once, and ends nothing.
    """
    with space_for(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = _LogFile(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    logger.addHandler(handler)
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
    return handler


def stop_file(handler: logging.Handler) -> None:
    logger.removeHandler(handler)
    handler.close()


class _LogFile(logging.FileHandler):
    """Ends at the first line that cannot be written, which a warning tells."""

    _ended = False

    def emit(self, record: logging.LogRecord) -> None:
        if not self._ended:
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        self._ended = True
        logger.warning(f"{self.baseFilename} ends here: {error.strerror or error}")

    def close(self) -> None:
        # what is left in its buffer cannot be written either
        with contextlib.suppress(OSError) if self._ended else contextlib.nullcontext():
            super().close()


class _Stderr(logging.StreamHandler):
    """Writes to whatever `sys.stderr` is now, so that a redirected stream (a test, a progress bar) is
    honoured.
    """

    lookalike_console = True

    def __init__(self) -> None:
        super().__init__(sys.stderr)

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        if getattr(record, "every_batch", False) and sys.stderr.isatty():
            return  # the progress bar shows it
        super().emit(record)
