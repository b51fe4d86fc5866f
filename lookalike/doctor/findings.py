"""What a check found: lines that are right, worth knowing, doubtful or wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from lookalike.core.errors import LookalikeError

Level = Literal["right", "note", "doubtful", "wrong"]
MARKS: dict[Level, str] = {"right": "✓", "note": "·", "doubtful": "!", "wrong": "✗"}


@dataclass(frozen=True)
class Finding:
    """One line of the report: a topic of a word or two, and a sentence."""

    level: Level
    topic: str
    text: str


@dataclass
class Report:
    """All findings of a check, in order, with the memory and the time a run will take where they are
    known.
    """

    name: str
    findings: list[Finding] = field(default_factory=list)
    memory_mb: float | None = None
    memory: dict[str, float] = field(default_factory=dict)
    seconds_per_epoch: float | None = None
    seconds: float | None = None

    def right(self, topic: str, text: str) -> None:
        self._add("right", topic, text)

    def note(self, topic: str, text: str) -> None:
        """What does no harm, such as a key without effect."""
        self._add("note", topic, text)

    def doubtful(self, topic: str, text: str) -> None:
        self._add("doubtful", topic, text)

    def wrong(self, topic: str, text: str) -> None:
        self._add("wrong", topic, text)

    def _add(self, level: Level, topic: str, text: str) -> None:
        if not any(known.level == level and known.text == text for known in self.findings):
            self.findings.append(Finding(level, topic, text))

    @contextmanager
    def catch(self, topic: str) -> Iterator[None]:
        """A block whose error becomes a problem of the report; what follows the block goes on."""
        try:
            yield
        except LookalikeError as error:
            self.wrong(topic, str(error))

    @property
    def ok(self) -> bool:
        return not self.problems

    @property
    def problems(self) -> list[str]:
        return [finding.text for finding in self.findings if finding.level == "wrong"]

    @property
    def warnings(self) -> list[str]:
        return [finding.text for finding in self.findings if finding.level == "doubtful"]

    @property
    def notes(self) -> list[str]:
        return [finding.text for finding in self.findings if finding.level == "note"]

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {
            "ok": self.ok,
            "recipe": self.name,
            "problems": self.problems,
            "warnings": self.warnings,
            "notes": self.notes,
            "passed": [f"{f.topic}: {f.text}" for f in self.findings if f.level == "right"],
            "memory_mb": self.memory_mb,
            "memory_parts_mb": self.memory,
            "seconds_per_epoch": self.seconds_per_epoch,
            "seconds": self.seconds,
        }

    def text(self) -> str:
        """The report for people."""
        width = max((len(finding.topic) for finding in self.findings), default=0)
        lines = [self.name]
        for finding in self.findings:
            first, *rest = finding.text.split("\n")
            lines.append(f"  {MARKS[finding.level]} {finding.topic:<{width}}  {first}")
            lines += [" " * (width + 6) + line for line in rest]
        counts = {"problem": len(self.problems), "warning": len(self.warnings), "note": len(self.notes)}
        told = [f"{count} {word}{'s' if count > 1 else ''}" for word, count in counts.items() if count]
        if not self.problems and not self.warnings:
            told.insert(0, "ready to train")
        lines.append(", ".join(told))
        return "\n".join(lines)


def listed(entries: list[str], shown: int = 5) -> str:
    """The first few entries, and how many more there are."""
    more = f" and {len(entries) - shown} more" if len(entries) > shown else ""
    return f"{', '.join(entries[:shown])}{more}"
