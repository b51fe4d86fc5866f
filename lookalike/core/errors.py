"""Errors that a person can act on.

`UserError` says, in one sentence, what is wrong and where; the command line prints it without a traceback and
exits with 2. `LookalikeError` is something that failed although the input was right; the command line exits
with 1.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class LookalikeError(Exception):
    """Something failed; the message is one sentence for the user. Exit code 1."""

    exit_code = 1


class UserError(LookalikeError):
    """The user's input is wrong; the message says what and where. Exit code 2."""

    exit_code = 2
    placed = False
    """Whether the message begins with the place of the mistake (`Place.error`)."""


def line_of(error: BaseException, last: bool = False) -> str:
    """The first line of what a library says of its error, or the last; the name of one that says nothing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1 if last else 0] if lines else type(error).__name__


class BrokenImage(UserError):
    """A file that is missing or cannot be decoded as an image.

    `path` and `reason` are kept apart for lists of them.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason

    def __reduce__(self) -> tuple[type[BrokenImage], tuple[str, str]]:
        return BrokenImage, (self.path, self.reason)


def missing_extra(package: str, extra: str, purpose: str) -> UserError:
    """The sentence for an optional package that is not installed."""
    return UserError(f"{purpose} needs {package}, which is not installed: pip install 'lookalike[{extra}]'")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`, did you mean 'x'?` for the nearest known name, or an empty string when nothing is near."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f", did you mean '{near[0]}'?" if near else ""


_SHORT_LIST = 12


def nearest_or_all(name: str, known: Iterable[str], where: str, beside: str = "") -> str:
    """What follows an unknown name: the nearest known one, and all, or of many some and `where` all stand.

    `beside` tells of names that are not `known`.
    """
    known, also = sorted(known), f", and {beside}" if beside else ""
    near = did_you_mean(name, known)
    if len(known) <= _SHORT_LIST:
        return f"{near} (known: {', '.join(known)}{also})"
    some = "" if near else f"such as {', '.join(difflib.get_close_matches(name, known, cutoff=0))}; "
    return f"{near} ({some}{where} lists all{also})"
