"""Schedules that start high and fall: constant, linear, cosine, in steps."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lookalike.core.errors import UserError
from lookalike.core.numbers import Number
from lookalike.training.schedule_base import SWALLOWED, Schedule, schedules


@dataclass(kw_only=True)
class _FromLearningRate(Schedule):
    learning_rate: Number

    @property
    def initial(self) -> float:
        return self.learning_rate


@schedules.register("ConstLR", swallows=SWALLOWED)
@dataclass(kw_only=True)
class ConstLR(_FromLearningRate):
    """lr(t) = learning_rate."""

    def after_warmup(self, time: float) -> float:
        return self.learning_rate


@schedules.register("Constant", swallows=SWALLOWED)
@dataclass(kw_only=True)
class Constant(ConstLR):
    """lr(t) = learning_rate. The reference ignores its warm-up; `reference_behaviour=True` too."""

    def __post_init__(self) -> None:
        if self.reference_behaviour:
            self.warmup_epoch = 0.0
        super().__post_init__()


@schedules.register("Linear", "Polynomial", swallows=SWALLOWED)
@dataclass(kw_only=True)
class Linear(_FromLearningRate):
    """lr(t) = (learning_rate - end_lr) (1 - t/T)^power + end_lr, T the steps after the warm-up; then end_lr.

    With `cycle`, T grows to the next multiple of T that holds t instead. The reference refuses a fractional
    warm-up, and with `by_epoch` counts the warm-up in updates although it steps by epochs, so that the rate
    hardly leaves its start; `reference_behaviour=True` does the second.
    """

    end_lr: Number = 0.0
    power: Number = 1.0
    cycle: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.reference_behaviour:
            self.warmup_steps = round(self.warmup_epoch * self.steps_per_epoch)

    def after_warmup(self, time: float) -> float:
        whole = self.steps_after_warmup
        if whole <= 0:
            return self.learning_rate
        if self.cycle:
            whole *= max(1, math.ceil(time / whole))
        left = 1 - min(time, whole) / whole
        return float((self.learning_rate - self.end_lr) * left**self.power + self.end_lr)


@schedules.register("Cosine", swallows=SWALLOWED)
@dataclass(kw_only=True)
class Cosine(_FromLearningRate):
    """lr(t) = eta_min + (learning_rate - eta_min) (1 + cos(pi t/T)) / 2, T the steps after warm-up.

    Loshchilov, Hutter, SGDR, 2017, https://arxiv.org/abs/1608.03983. The reference lets the rate rise again
    after T, and refuses a fractional warm-up; `reference_behaviour=True` does the first.
    """

    eta_min: Number = 0.0

    def after_warmup(self, time: float) -> float:
        whole = self.steps_after_warmup
        if whole <= 0:
            return self.learning_rate
        if not self.reference_behaviour:
            time = min(time, whole)
        return self.eta_min + (self.learning_rate - self.eta_min) * (1 + math.cos(math.pi * time / whole)) / 2


@schedules.register("Step", swallows=SWALLOWED)
@dataclass(kw_only=True)
class Step(_FromLearningRate):
    """lr(t) = learning_rate * gamma^floor(t / step_size), `step_size` in epochs."""

    step_size: Number
    gamma: Number = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.step_size <= 0:
            raise UserError(f"Optimizer.lr: Step needs a step_size above 0, got {self.step_size}")

    def after_warmup(self, time: float) -> float:
        return float(self.learning_rate * self.gamma ** math.floor(time / (self.step_size * self.unit)))


@schedules.register("MultiStepDecay", "MultiStep", swallows=SWALLOWED)
@dataclass(kw_only=True)
class MultiStepDecay(_FromLearningRate):
    """lr(t) = learning_rate * gamma^(number of milestones <= t), `milestones` in epochs after the warm-up."""

    milestones: list[Number]
    gamma: Number = 0.1

    def after_warmup(self, time: float) -> float:
        passed = sum(milestone * self.unit <= time for milestone in self.milestones)
        return float(self.learning_rate * self.gamma**passed)


@schedules.register("Piecewise", swallows=SWALLOWED)
@dataclass(kw_only=True)
class Piecewise(Schedule):
    """lr(t) = values[number of decay_epochs <= t], `decay_epochs` counted after the warm-up; one value more.

    With `learning_rate` alone: a tenth of it every 30 epochs. The reference takes that also when
    `decay_epochs` and `values` are given beside `learning_rate`, and so throws them away; here they count,
    and only `reference_behaviour=True` does the same.
    """

    decay_epochs: list[Number] | None = None
    values: list[Number] | None = None
    learning_rate: Number | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.learning_rate is not None and (self.reference_behaviour or self.values is None):
            self.boundaries = [float(epoch) for epoch in range(30, self.epochs, 30)]
            self.rates = [self.learning_rate * 0.1**i for i in range(len(self.boundaries) + 1)]
            return
        self.boundaries, self.rates = list(self.decay_epochs or []), list(self.values or [])
        if len(self.rates) != len(self.boundaries) + 1:
            raise UserError(
                "Optimizer.lr: Piecewise needs 'decay_epochs' and 'values', with one value more; got "
                f"decay_epochs {self.decay_epochs} and values {self.values}"
            )
        if sorted(self.boundaries) != self.boundaries:
            raise UserError(f"Optimizer.lr: the decay_epochs of Piecewise must rise, got {self.decay_epochs}")

    @property
    def initial(self) -> float:
        return self.rates[0]

    def after_warmup(self, time: float) -> float:
        return self.rates[sum(boundary * self.unit <= time for boundary in self.boundaries)]


@schedules.register("CosineFixmatch", swallows=SWALLOWED)
@dataclass(kw_only=True)
class CosineFixmatch(_FromLearningRate):
    """lr(t) = learning_rate max(0, cos(num_cycles pi (t - w)/(T - w))).

    Before w = num_warmup_steps it is learning_rate t/w. T is the number of steps. Sohn et al., FixMatch,
    2020, https://arxiv.org/abs/2001.07685.
    """

    num_warmup_steps: int = 0
    num_cycles: Number = 7 / 16

    def after_warmup(self, time: float) -> float:
        if time < self.num_warmup_steps:
            return self.learning_rate * time / self.num_warmup_steps
        progress = (time - self.num_warmup_steps) / max(1, self.steps_after_warmup - self.num_warmup_steps)
        return self.learning_rate * max(0.0, math.cos(math.pi * self.num_cycles * progress))
