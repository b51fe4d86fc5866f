"""The schedule that follows the metric of evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from lookalike.core.errors import UserError
from lookalike.core.numbers import Number
from lookalike.training.schedule_base import SWALLOWED, Schedule, schedules


@schedules.register("ReduceOnPlateau", swallows=SWALLOWED)
@dataclass(kw_only=True)
class ReduceOnPlateau(Schedule):
    """The rate is multiplied by `factor` when more than `patience` evaluations have brought no improvement.

    Improved means better than the best by `threshold`, relative (rel) or absolute (abs). After a reduction
    `cooldown` evaluations are not looked at. Never below `min_lr`; a change below `epsilon` is not made.
    Epochs without an evaluation do not count. Needs `by_epoch: True`. With a warm-up, metrics are heard after
    it; the reference never leaves the start of a warm-up then (`reference_behaviour=True` too).
    """

    learning_rate: Number
    mode: Literal["min", "max"] = "min"
    factor: Number = 0.1
    patience: int = 10
    threshold: Number = 1e-4
    threshold_mode: Literal["rel", "abs"] = "rel"
    cooldown: int = 0
    min_lr: Number = 0.0
    epsilon: Number = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.by_epoch:
            raise UserError(
                "Optimizer.lr: ReduceOnPlateau follows evaluations, one after an epoch: set by_epoch: True"
            )
        self.reduced = self.learning_rate
        self.best: float | None = None
        self.bad = 0
        self.cooling = 0

    @property
    def initial(self) -> float:
        return self.learning_rate

    def at(self, step: int) -> float:
        if self.reference_behaviour and self.warmup_steps:
            return self.warmup_start_lr
        return super().at(step)

    def after_warmup(self, time: float) -> float:
        return self.reduced

    def observe(self, epoch: int, metric: float) -> None:
        if epoch + self.last_epoch + 1 < self.warmup_steps:
            return
        if self.cooling > 0:
            self.cooling -= 1
            return
        if self.best is None or self._better(metric, self.best):
            self.best, self.bad = metric, 0
        else:
            self.bad += 1
        if self.bad > self.patience:
            self.cooling, self.bad = self.cooldown, 0
            reduced = max(self.reduced * self.factor, self.min_lr)
            if self.reduced - reduced > self.epsilon:
                self.reduced = reduced

    def _better(self, metric: float, best: float) -> bool:
        margin = self.threshold * (best if self.threshold_mode == "rel" else 1.0)
        return metric > best + margin if self.mode == "max" else metric < best - margin

    def state_dict(self) -> dict[str, Any]:
        return {"reduced": self.reduced, "best": self.best, "bad": self.bad, "cooling": self.cooling}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.reduced, self.best = state["reduced"], state["best"]
        self.bad, self.cooling = state["bad"], state["cooling"]
