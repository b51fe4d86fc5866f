"""What all learning-rate schedules share: steps, warm-up, and the registry of their names."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from lookalike.core.errors import UserError
from lookalike.core.log import warn_once
from lookalike.core.numbers import Number
from lookalike.core.registry import Registry

SWALLOWED = {
    "verbose": "the learning rate is logged with the loss",
    "step_each_epoch": "it follows from the training set and Global.iter_per_epoch",
}
"""Arguments of the reference that every schedule accepts and that mean nothing here."""


@dataclass(kw_only=True)
class Schedule(ABC):
    """The learning rate as a function of the step, so that resuming is exact and costs nothing.

    A step is one update of the weights, or one epoch where `by_epoch` is set; `steps_per_epoch` counts
    updates. All schedules know a linear warm-up of `warmup_epoch` epochs (a fraction is allowed) from
    `warmup_start_lr` to the initial rate: before its end T_w the rate is start + (initial - start) t / T_w,
    from then on the schedule at t - T_w. So boundaries count from the end of the warm-up. A warm-up longer
    than the training is cut to it. `last_epoch: 0` starts one step later in the schedule; -1 is the start.
    """

    epochs: int
    steps_per_epoch: int
    warmup_epoch: Number = 0.0
    warmup_start_lr: Number = 0.0
    last_epoch: int = -1
    by_epoch: bool = False
    reference_behaviour: bool = False

    def __post_init__(self) -> None:
        if self.warmup_epoch < 0:
            raise UserError(f"Optimizer.lr: warmup_epoch must not be negative, got {self.warmup_epoch}")
        if self.warmup_epoch > self.epochs:
            warn_once(
                f"Optimizer.lr: warmup_epoch is {self.warmup_epoch:g} and there are {self.epochs} epochs, so "
                "the learning rate only rises: set warmup_epoch lower"
            )
        self.warmup_epoch = min(self.warmup_epoch, self.epochs)
        self.unit = 1 if self.by_epoch else self.steps_per_epoch
        self.warmup_steps: float = (
            self.warmup_epoch if self.by_epoch else round(self.warmup_epoch * self.steps_per_epoch)
        )
        self.steps_after_warmup = self.epochs * self.unit - self.warmup_steps

    @property
    @abstractmethod
    def initial(self) -> float:
        """The rate at the beginning, after the warm-up."""

    @property
    def warmup_end(self) -> float:
        """The rate that the warm-up leads to."""
        return self.initial

    def at(self, step: int) -> float:
        """The learning rate of step 0, 1, 2 … (updates, or epochs where `by_epoch` is set)."""
        time = step + self.last_epoch + 1
        if time < self.warmup_steps:
            return self.warmup_start_lr + (self.warmup_end - self.warmup_start_lr) * time / self.warmup_steps
        return self.after_warmup(time - self.warmup_steps)

    @abstractmethod
    def after_warmup(self, time: float) -> float:
        """The learning rate `time` steps after the warm-up."""

    def observe(self, epoch: int, metric: float) -> None:  # noqa: B027  (most schedules are deaf)
        """Hear the result of the evaluation after an epoch (0, 1, …). Only ReduceOnPlateau listens."""

    def state_dict(self) -> dict[str, Any]:
        """What is not a function of the step; empty for all schedules but ReduceOnPlateau."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027  (as state_dict)
        """Take back what `state_dict` gave."""


schedules: Registry[Schedule] = Registry("learning-rate schedule")
"""Names in `Optimizer.lr` of a recipe."""
