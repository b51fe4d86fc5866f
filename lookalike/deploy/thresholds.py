"""What a model folder says of similarities: from which on two pictures show the same, or nothing known.

`calibrate` writes them into the manifest, and the search of a gallery reads them. They are no part of the
fingerprint, but say which one they were found with.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from lookalike.core.errors import UserError
from lookalike.retrieval import scores_needed

FORMAT = 1
MUCH_LARGER = 2.0
"""A gallery so many times as large as the one that was calibrated with is told of."""

FEW_CLASSES = 20
"""With fewer, drawing classes anew does not say how others would vary."""

Verdict = Literal["same", "unsure", "unknown"]


@dataclass(frozen=True)
class Bounds:
    """`same` from this similarity on, `unsure` from that one on, `unknown` below."""

    same: float
    unsure: float

    def verdict(self, score: float) -> Verdict:
        if score >= self.same:
            return "same"
        return "unsure" if score >= self.unsure else "unknown"


@dataclass(frozen=True)
class Figures:
    """A threshold with what it does to the validation pictures.

    wanted: the share of pictures of unknown things that may be accepted. false_accepts: how many of
    `tried` were. supported: whether those tried are enough for the wanted share; where not, no more is known
    than that none was accepted. expected_false_accept_rate: about what comes of it on other things.
    identification_rate: share of pictures of known things whose nearest picture is of the same thing and
    accepted. For that and the intervals see `lookalike.retrieval.OperatingPoint.find`.
    """

    threshold: float
    threshold_interval: tuple[float, float]
    wanted: float
    supported: bool
    false_accepts: int
    tried: int
    false_accept_rate: float
    expected_false_accept_rate: float | None
    false_accept_interval: tuple[float, float] | None
    identification_rate: float
    identification_interval: tuple[float, float]

    @property
    def elsewhere(self) -> str:
        """The expected rate of false accepts on other things, with its interval, as text."""
        if self.expected_false_accept_rate is None or self.false_accept_interval is None:
            return "unknown"
        expected = 100 * self.expected_false_accept_rate
        return f"about {expected:.1f} % ({percents(self.false_accept_interval)})"


@dataclass(frozen=True)
class PairFigures:
    """A threshold for two pictures and nothing else: do they show the same?

    wanted: the share of pairs of two classes that may be accepted; true_accept_rate: the share of pairs of
    one class that is. supported: as in `Figures`, of the `tried` pairs of two classes.
    """

    threshold: float
    wanted: float
    supported: bool
    tried: int
    true_accept_rate: float


@dataclass(frozen=True)
class Validation:
    """The pictures that the thresholds were found with. confidence: that of all intervals."""

    queries: int
    classes: int
    gallery: int
    gallery_classes: int
    recognised: float
    """Share of the queries whose nearest picture is of their class, without any threshold."""
    confidence: float

    @property
    def intervals(self) -> str:
        """What the intervals are, as text; `Thresholds.doubts` says where they are worth nothing."""
        return f"{100 * self.confidence:g} % intervals, over classes"


@dataclass(frozen=True)
class Thresholds:
    """What `calibrate` found.

    same, unsure: the thresholds of all classes together, with their figures. classes: classes that have
    bounds of their own; rest: those of the others. class_rates: false-accept and identification rate for
    `same` with these.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    fingerprint: str
    validation: Validation
    same: Figures
    unsure: Figures
    pairs: PairFigures
    rest: Bounds
    classes: dict[str, Bounds] = field(default_factory=dict)
    class_rates: tuple[float, float] | None = None
    format: int = FORMAT

    @classmethod
    def of_json(cls, values: Any, fingerprint: str, place: str) -> Thresholds:
        """What `to_json` gave, for a model with this fingerprint; `place` says where it stands.

        Raises UserError where it is damaged, and where it was found with another model.
        """
        again = "calibrate again (lookalike calibrate)"
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            told = values.get("format") if isinstance(values, dict) else None
            raise UserError(
                f"{place}: format {told} is not the format {FORMAT} that this version reads; {again}"
            )
        try:
            found = TypeAdapter(cls).validate_json(json.dumps(values))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise UserError(f"{place}: damaged: {where}: {first['msg']}; {again}") from None
        if found.fingerprint != fingerprint:
            raise UserError(
                f"{place}: made with another model (fingerprints {found.fingerprint[:12]} and "
                f"{fingerprint[:12]}), whose similarities are others: {again}"
            )
        return found

    def to_json(self) -> dict[str, Any]:
        """What goes into the manifest."""
        return asdict(self)

    def of(self, label: str) -> Bounds:
        """The bounds for an answer of this label."""
        return self.classes.get(label, self.rest)

    def growth_warning(self, gallery: int) -> str | None:
        """A sentence where a gallery of so many pictures is much larger than the one of the calibration."""
        times = gallery / self.validation.gallery
        if times <= MUCH_LARGER:
            return None
        return (
            f"the thresholds were found with a gallery of {self.validation.gallery} pictures and this one "
            f"has {gallery}: a picture of something unknown finds one that is near by chance up to "
            f"{times:.0f} times as often; calibrate with a gallery of this size (--gallery-list)"
        )

    def lines(self) -> list[str]:
        """The section of the model card, in Markdown."""
        data = self.validation
        rows = [
            f"| {name} | {each.threshold:.4f} | {100 * each.false_accept_rate:.2f} % | {each.elsewhere} | "
            f"{100 * each.identification_rate:.1f} % ({percents(each.identification_interval)}) |"
            for name, each in (("same", self.same), ("unsure", self.unsure))
        ]
        lines = [
            f"Found with {data.queries} pictures of {data.classes} classes against {data.gallery} of "
            f"{data.gallery_classes}; in brackets: {data.intervals}.",
            "",
            "| answer | from similarity | unknown things accepted | of others | known things recognised |",
            "|---|---|---|---|---|",
            *rows,
        ]
        if self.classes:
            lines += ["", f"{len(self.classes)} classes have thresholds of their own."]
        return lines + [f"\n{sentence}" for sentence in self.doubts()]

    def doubts(self) -> list[str]:
        """What keeps the figures from saying more."""
        told = [
            f"A false-accept rate of {100 * each.wanted:g} % needs at least {scores_needed(each.wanted)} "
            f"validation pictures, and there were {each.tried}: the threshold for '{name}' lies above all of "
            "their wrong scores, and how many false accepts there will be is not known."
            for name, each in (("same", self.same), ("unsure", self.unsure))
            if not each.supported
        ]
        if self.validation.classes < FEW_CLASSES:
            told.append(
                f"{self.validation.classes} classes are few: the intervals, which come from drawing classes, "
                "are not to be trusted, also where they are narrow: others may lie far outside of them."
            )
        return told


def judged(answers: Sequence[tuple[str, float]], bounds_of: Callable[[str], Bounds]) -> list[Verdict]:
    """Verdicts on answers (label, score), nearest first.

    An answer never gets a better one than those before it: the rates of false accepts are those of the
    nearest answer, which a class with a lower threshold would undercut from behind.
    """
    order: tuple[Verdict, ...] = ("same", "unsure", "unknown")
    verdicts: list[Verdict] = []
    worst = 0
    for label, score in answers:
        worst = max(worst, order.index(bounds_of(label).verdict(score)))
        verdicts.append(order[worst])
    return verdicts


def percents(interval: tuple[float, float]) -> str:
    """`0.2–1.9 %`."""
    low, high = interval
    return f"{100 * low:.1f}–{100 * high:.1f} %"


def replaced_section(text: str, title: str, lines: Sequence[str]) -> str:
    """A Markdown text whose section `## title` holds these lines; a new one comes at the end."""
    heading = re.search(rf"^## {re.escape(title)}[ \t]*\r?$", text, re.MULTILINE)
    following = re.compile(r"^## ", re.MULTILINE).search(text, heading.end()) if heading else None
    before = text[: heading.start()] if heading else text
    rest = text[following.start() :] if following else ""
    section = [f"## {title}", "", *lines, ""]
    return before.rstrip() + "\n\n" + "\n".join(section) + (f"\n{rest}" if rest else "")
