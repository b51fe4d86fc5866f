"""Learning-rate schedules by name. Names, arguments and numbers are the reference's."""

from __future__ import annotations

import contextlib
from typing import Any

from lookalike.core.component import Component, Place, Section
from lookalike.core.log import note_once
from lookalike.core.numbers import parse_number
from lookalike.training import schedule_cycles, schedule_decays, schedule_plateau  # noqa: F401  (registers them)
from lookalike.training.schedule_base import Schedule, schedules

__all__ = ["Schedule", "build_schedule", "schedules"]


def build_schedule(
    section: Any, *, epochs: int, steps_per_epoch: int, reference_behaviour: bool = False
) -> Schedule:
    """The schedule of an `lr` section `{name: Cosine, learning_rate: 0.04, warmup_epoch: 5}`, or of a number.

    `steps_per_epoch` is the number of updates of an epoch. `epochs` and `step_each_epoch` in the section have
    no effect; the reference writes over them too. Raises UserError for an unknown name, or an
    unknown, missing or wrong argument.
    """
    place = section.place if isinstance(section, Section) else Place("Optimizer.lr")
    if isinstance(section, str):
        with contextlib.suppress(ValueError):
            section = parse_number(section)
    if isinstance(section, (int, float)) and not isinstance(section, bool):
        section = {"name": "ConstLR", "learning_rate": section}
    if section is None:
        raise place.error(
            "no learning rate is given: write for example 'lr: {name: Cosine, learning_rate: 0.04}'"
        )
    component = Component.of(section, place.path)
    told = component.arguments.get("epochs")
    if told is not None and told != epochs:
        note_once(f"{component.place_of('epochs')}: has no effect: the run has {epochs} epochs")
    arguments = {key: value for key, value in component.arguments.items() if key != "epochs"}
    return schedules.build(
        component.with_arguments(arguments),
        place.path,
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
        reference_behaviour=reference_behaviour,
    )
