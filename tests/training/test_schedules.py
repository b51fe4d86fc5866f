"""Learning-rate schedules: what the golden numbers leave open."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from lookalike.core.errors import UserError
from lookalike.training.schedules import Schedule, build_schedule, schedules

SETTINGS: dict[str, dict[str, Any]] = {
    "Constant": {"learning_rate": 0.1},
    "ConstLR": {"learning_rate": 0.1},
    "Linear": {"learning_rate": 0.1},
    "Cosine": {"learning_rate": 0.1},
    "Step": {"learning_rate": 0.1, "step_size": 2},
    "MultiStepDecay": {"learning_rate": 0.1, "milestones": [3, 6]},
    "Piecewise": {"decay_epochs": [3, 6], "values": [0.1, 0.01, 0.001]},
    "Cyclic": {"base_learning_rate": 0.1, "max_learning_rate": 0.2, "step_size_up": 5},
    "OneCycleLR": {"max_learning_rate": 2.5},
    "CosineFixmatch": {"learning_rate": 0.1},
    "ReduceOnPlateau": {"learning_rate": 0.1, "by_epoch": True},
}


def build(name: str, epochs: int = 10, steps_per_epoch: int = 7, **arguments: Any) -> Schedule:
    settings = {**SETTINGS[name], **arguments}
    reference = settings.pop("reference_behaviour", False)
    return build_schedule(
        {"name": name, **settings},
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
        reference_behaviour=reference,
    )


def rates(schedule: Schedule, count: int = 70) -> list[float]:
    return [schedule.at(step) for step in range(count)]


def test_every_schedule_is_here() -> None:
    assert {entry.name for entry in schedules} == set(SETTINGS)


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("warmup", [0, 2, 1.5, 100])
@pytest.mark.parametrize("by_epoch", [False, True])
def test_rates_are_sane(name: str, warmup: float, by_epoch: bool) -> None:
    schedule = build(name, warmup_epoch=warmup, by_epoch=by_epoch or name == "ReduceOnPlateau")
    found = rates(schedule, 100)
    assert all(math.isfinite(rate) and rate >= 0 for rate in found)
    steps = schedule.warmup_steps
    for step in range(math.ceil(steps)):
        assert found[step] == pytest.approx(0.1 * step / steps)
    if warmup <= 2:
        assert schedule.at(math.ceil(steps)) > 0.09
    assert found == rates(schedule, 100), "a pure function of the step"


@pytest.mark.parametrize("name", ["Linear", "Cosine", "OneCycleLR"])
@pytest.mark.parametrize("by_epoch", [False, True])
@pytest.mark.parametrize("warmup", [0, 1.5, 3])
def test_the_end_is_reached_and_kept(name: str, by_epoch: bool, warmup: float) -> None:
    schedule = build(name, by_epoch=by_epoch, warmup_epoch=warmup)
    end = 10 if by_epoch else 70
    assert schedule.at(end) == pytest.approx(0, abs=1e-6)
    assert schedule.at(end + 5) == pytest.approx(0, abs=1e-6)
    assert schedule.at(end - 3) > 1e-4


def test_reference_cosine_rises_again() -> None:
    assert build("Cosine", reference_behaviour=True).at(80) > build("Cosine").at(80)


def test_warmup_of_linear_by_epoch() -> None:
    assert build("Linear", by_epoch=True, warmup_epoch=2).at(2) == pytest.approx(0.1)
    assert build("Linear", by_epoch=True, warmup_epoch=2, reference_behaviour=True).at(2) < 0.02


def test_milestones_count_from_the_end_of_the_warmup() -> None:
    schedule = build("MultiStepDecay", warmup_epoch=2, by_epoch=True)
    assert [round(schedule.at(epoch), 6) for epoch in range(2, 10)] == [0.1] * 3 + [0.01] * 3 + [0.001] * 2


def test_piecewise_keeps_its_values_beside_a_learning_rate() -> None:
    assert build("Piecewise", learning_rate=0.1).at(45) == 0.001
    assert build("Piecewise", learning_rate=0.1, reference_behaviour=True).at(45) == 0.1
    alone = build_schedule(
        {"name": "Piecewise", "learning_rate": 0.1, "by_epoch": True}, epochs=90, steps_per_epoch=5
    )
    assert [round(alone.at(epoch), 6) for epoch in (0, 29, 30, 60)] == [0.1, 0.1, 0.01, 0.001]


def test_last_epoch_shifts_by_one() -> None:
    assert build("Cosine", last_epoch=0).at(0) == build("Cosine").at(1)


def test_plateau() -> None:
    schedule = build("ReduceOnPlateau", mode="max", patience=1, cooldown=1, min_lr=0.005)
    found = []
    for epoch, metric in enumerate([0.5, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.7]):
        found.append(round(schedule.at(epoch), 6))
        schedule.observe(epoch, metric)
    assert found == [0.1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.005, 0.005, 0.005]


def test_plateau_hears_metrics_after_its_warmup() -> None:
    schedule = build("ReduceOnPlateau", mode="max", patience=0, warmup_epoch=3)
    for epoch, metric in enumerate([0.9, 0.9, 0.9, 0.1, 0.2]):
        schedule.observe(epoch, metric)
    assert schedule.at(5) == 0.1
    schedule.observe(5, 0.2)
    assert schedule.at(6) == pytest.approx(0.01)


def test_plateau_state_is_plain() -> None:
    first, second = build("ReduceOnPlateau", patience=0), build("ReduceOnPlateau", patience=0)
    first.observe(0, 1.0)
    first.observe(1, 2.0)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert second.at(2) == first.at(2) == pytest.approx(0.01)
    assert build("Cosine").state_dict() == {}


@pytest.mark.parametrize("value", [0.02, "0.02", "1/50", {"name": "Constant", "learning_rate": "1/50"}])
def test_a_number_is_a_schedule(value: Any) -> None:
    assert build_schedule(value, epochs=3, steps_per_epoch=2).at(4) == pytest.approx(0.02)


def test_keys_without_a_value_are_silent(caplog: pytest.LogCaptureFixture) -> None:
    assert rates(build("Cyclic", scale_fn=None, scale_mode="cycle")) == rates(build("Cyclic"))
    assert caplog.messages == []
    build("Cyclic", scale_fn="x")
    assert "'scale_fn' has no effect: a recipe cannot hold a function" in caplog.messages[0]


def test_reference_keys_are_accepted() -> None:
    build("Cosine", verbose=False)
    assert build("Constant", warmup_epoch=2, reference_behaviour=True).at(0) == 0.1
    section = {"name": "Linear", "learning_rate": 0.1, "epochs": 348, "step_each_epoch": 50}
    assert build_schedule(section, epochs=10, steps_per_epoch=7).at(35) == pytest.approx(0.05), (
        "the run's own lengths count, as in the reference"
    )


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (None, "Optimizer.lr: no learning rate is given"),
        (
            {"name": "Cosin", "learning_rate": 1},
            "unknown learning-rate schedule 'Cosin', did you mean 'Cosine'",
        ),
        (
            {"name": "Cosine", "learning_rat": 1},
            "Optimizer.lr: unknown argument 'learning_rat', did you mean 'learning_rate'",
        ),
        ({"name": "Cosine"}, "needs 'learning_rate'"),
        ({"name": "Piecewise", "values": [1, 2], "decay_epochs": [1, 2]}, "one value more"),
        ({"name": "Piecewise", "values": [1, 2, 3], "decay_epochs": [2, 1]}, "must rise"),
        ({"name": "ReduceOnPlateau", "learning_rate": 1}, "set by_epoch: True"),
        ({"name": "Cosine", "learning_rate": 1, "warmup_epoch": -1}, "must not be negative"),
        ({"name": "Step", "learning_rate": 1, "step_size": 0}, "step_size above 0"),
        ({"name": "OneCycleLR", "max_learning_rate": 1, "phase_pct": 1.5}, "must lie between 0 and 1"),
        (
            {"name": "Cyclic", "base_learning_rate": 1, "max_learning_rate": 2, "step_size_up": 0},
            "step sizes above 0",
        ),
    ],
)
def test_errors(section: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_schedule(section, epochs=10, steps_per_epoch=7)


def test_a_warm_up_longer_than_the_run_is_told(caplog: pytest.LogCaptureFixture) -> None:
    section = {"name": "Cosine", "learning_rate": 0.1, "warmup_epoch": 6}
    with caplog.at_level("WARNING", logger="lookalike"):
        build_schedule(section, epochs=3, steps_per_epoch=5)
    assert "warmup_epoch is 6 and there are 3 epochs" in caplog.text
