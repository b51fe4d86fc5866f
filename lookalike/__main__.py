"""`python -m lookalike`, and with it `torchrun -m lookalike`."""

import contextlib
import os
import signal
import sys
import threading
from types import FrameType

from lookalike.core import process

_STOPPED = 130


def main() -> None:
    """Entry point of the command; Ctrl-C before and after it does its work is told as in between."""
    try:
        from lookalike.cli.main import run

        run()
    except KeyboardInterrupt:  # while the command is loaded, or while it tells an error
        _tell()
        sys.exit(_STOPPED)
    finally:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, _leave)
        with contextlib.suppress(OSError, ValueError):  # of a closed pipe, which Python finds again
            sys.stdout.flush()


def _leave(number: int, frame: FrameType | None) -> None:
    """While Python ends and waits for threads, an interruption would be a traceback and not end that."""
    _tell()
    os._exit(_STOPPED)


def _tell() -> None:
    if process.is_main():  # the first process was stopped too
        os.write(2, b"lookalike: stopped\n")


if __name__ == "__main__":
    main()
