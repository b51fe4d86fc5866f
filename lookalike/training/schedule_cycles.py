"""Schedules that rise and fall."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from lookalike.core.errors import UserError
from lookalike.core.numbers import Number
from lookalike.core.registry import Swallowed
from lookalike.training.schedule_base import SWALLOWED, Schedule, schedules


@schedules.register(
    "Cyclic",
    "CyclicLR",
    swallows={
        **SWALLOWED,
        "scale_fn": "a recipe cannot hold a function; `mode` chooses one",
        "scale_mode": Swallowed(
            "it belongs to a scale function, which a recipe cannot hold", (None, "cycle", "iterations")
        ),
    },
)
@dataclass(kw_only=True)
class Cyclic(Schedule):
    """From `base_learning_rate` to `max_learning_rate` in `step_size_up` steps, and back, again and again.

    Smith, Cyclical Learning Rates, 2017, https://arxiv.org/abs/1506.01186. Step sizes count steps, not
    epochs. `mode`: triangular keeps the height, triangular2 halves it each cycle, exp_range multiplies it
    with exp_gamma^t.
    """

    base_learning_rate: Number
    max_learning_rate: Number
    step_size_up: Number
    step_size_down: Number | None = None
    mode: Literal["triangular", "triangular2", "exp_range"] = "triangular"
    exp_gamma: Number = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        down = self.step_size_up if self.step_size_down is None else self.step_size_down
        if self.step_size_up <= 0 or down < 0:
            raise UserError(
                f"Optimizer.lr: Cyclic needs step sizes above 0, got {self.step_size_up} and {down}"
            )
        self.cycle_length = self.step_size_up + down

    @property
    def initial(self) -> float:
        return self.base_learning_rate

    def after_warmup(self, time: float) -> float:
        cycle = math.floor(time / self.cycle_length)
        within = time - cycle * self.cycle_length
        if within <= self.step_size_up:
            share = within / self.step_size_up
        else:
            share = (self.cycle_length - within) / (self.cycle_length - self.step_size_up)
        height = (self.max_learning_rate - self.base_learning_rate) * share
        scale = {"triangular": 1.0, "triangular2": 0.5**cycle, "exp_range": self.exp_gamma**time}[self.mode]
        return float(self.base_learning_rate + height * scale)


@schedules.register("OneCycleLR", "OneCycle", swallows=SWALLOWED)
@dataclass(kw_only=True)
class OneCycleLR(Schedule):
    """From max/divide_factor to `max_learning_rate` in `phase_pct` of the steps, then down to the end rate.

    With `three_phase`, down to the initial rate in as many steps as up, then to the end. `anneal_strategy`
    cos or linear. Smith, Topin, Super-Convergence, 2018, https://arxiv.org/abs/1708.07120. The steps are
    those after the warm-up, which leads to the initial rate; the end rate is kept after the last step.

    In the reference the cycle is as long as the whole training in updates, also by epoch and also behind a
    warm-up, so that its end is never reached then; the warm-up leads to `max_learning_rate`; after the last
    step the curve goes on. `reference_behaviour=True` does the same.
    """

    max_learning_rate: Number
    divide_factor: Number = 25.0
    end_learning_rate: Number = 1e-10
    phase_pct: Number = 0.3
    anneal_strategy: Literal["cos", "linear"] = "cos"
    three_phase: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        most = 0.5 if self.three_phase else 1
        if not 0 < self.phase_pct < most:
            raise UserError(
                f"Optimizer.lr: phase_pct of OneCycleLR must lie between 0 and {most}, got {self.phase_pct}"
            )
        whole = self.epochs * self.steps_per_epoch if self.reference_behaviour else self.steps_after_warmup
        rise = self.phase_pct * whole - 1
        if self.three_phase:
            self.ends = [0.0, rise, 2 * self.phase_pct * whole - 2, whole - 1]
            self.rates = [self.initial, self.max_learning_rate, self.initial, self.end_learning_rate]
        else:
            self.ends = [0.0, rise, whole - 1]
            self.rates = [self.initial, self.max_learning_rate, self.end_learning_rate]

    @property
    def initial(self) -> float:
        return self.max_learning_rate / self.divide_factor

    @property
    def warmup_end(self) -> float:
        return self.max_learning_rate if self.reference_behaviour else self.initial

    def after_warmup(self, time: float) -> float:
        last = len(self.ends) - 1
        phase = next((i for i in range(1, last) if time <= self.ends[i]), last)
        begin, end = self.ends[phase - 1], self.ends[phase]
        share = (time - begin) / (end - begin) if end > begin else 1.0
        if not self.reference_behaviour:
            share = min(share, 1.0)
        start, stop = self.rates[phase - 1], self.rates[phase]
        if self.anneal_strategy == "linear":
            return start + (stop - start) * share
        return stop + (start - stop) * (1 + math.cos(math.pi * share)) / 2
