"""What an evaluation without a search found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lookalike.evaluation.loader import LeftOut


@dataclass(frozen=True)
class SetEvaluation:
    """Figures of one set of images, scored one by one (classification) or in pairs (verification).

    `metrics` has the figures by the keys of recipes, the deciding one first. `pairs` counts the pairs of each
    verification set and `thresholds` holds their distances; both are empty in classification.
    """

    metrics: dict[str, float]
    images: int
    broken: list[LeftOut]
    seconds: float
    losses: dict[str, float] = field(default_factory=dict)
    pairs: Mapping[str, int] = field(default_factory=dict)
    thresholds: Mapping[str, float] = field(default_factory=dict)

    @property
    def counts(self) -> str:
        """What was scored, in words."""
        pairs = "".join(f", {count} pairs of {name}" for name, count in self.pairs.items())
        return f"{self.images} pictures{pairs}"

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        found: dict[str, Any] = {"metrics": self.metrics, "losses": self.losses, "images": self.images}
        if self.pairs:
            found |= {"pairs": dict(self.pairs), "thresholds": dict(self.thresholds)}
        return {**found, "broken": [each._asdict() for each in self.broken], "seconds": self.seconds}
