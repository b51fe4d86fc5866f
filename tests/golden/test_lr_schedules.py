"""The learning rate at every iteration, against the reference."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from lookalike.training.schedules import build_schedule, schedules
from tests.golden import golden


def _missing(case: dict[str, Any]) -> str | None:
    name = case["args"]["name"]
    return None if name in schedules else f"schedule {name}"


def _rates(case: dict[str, Any], metrics: Any, reference_behaviour: bool = True) -> tuple[list[float], float]:
    epochs, steps = case["epochs"], case["step_each_epoch"]
    schedule = build_schedule(
        case["args"], epochs=epochs, steps_per_epoch=steps, reference_behaviour=reference_behaviour
    )
    rates = []
    for epoch in range(epochs):
        rates += [schedule.at(epoch if schedule.by_epoch else epoch * steps + i) for i in range(steps)]
        if metrics is not None:
            schedule.observe(epoch, float(metrics[epoch]))
    return rates, schedule.at(epochs if schedule.by_epoch else epochs * steps)


@golden.parametrize("lr_schedules", missing=_missing)
def test_rates(case: dict[str, Any]) -> None:
    store = golden.arrays("lr_schedules")
    metrics = golden.under(store, case["id"]).get("in/metric")
    rates, final = _rates(case, metrics)
    if case["status"] == "raises":
        # the reference fails on a fractional warm-up; ours rises to the given rate, which the end of warm-up
        # must reach
        assert case["args"]["warmup_epoch"] % 1
        steps = round(case["args"]["warmup_epoch"] * case["step_each_epoch"])
        assert rates[steps] == pytest.approx(case["args"]["learning_rate"])
        assert all(later > earlier for earlier, later in pairwise(rates[: steps + 1]))
        assert final == pytest.approx(case["args"].get("end_lr", case["args"].get("eta_min", 0)), abs=1e-9)
        return
    golden.assert_close(rates, store[f"{case['id']}/out/lr"], case["rtol"], case["atol"])
    golden.assert_close(final, store[f"{case['id']}/out/lr_final"], case["rtol"], case["atol"])
