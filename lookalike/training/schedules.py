"""Learning-rate schedules by name. Names, arguments and numbers are the reference's."""

from __future__ import annotations

import contextlib
from typing import Any

from lookalike.core.component import Place, Section
from lookalike.core.numbers import parse_number
from lookalike.training import schedule_cycles, schedule_decays, schedule_plateau  # noqa: F401  (registers them)
from lookalike.training.schedule_base import Schedule, schedules

__all__ = ["Schedule", "build_schedule", "schedules"]


def build_schedule(
    section: Any, *, epochs: int, steps_per_epoch: int, reference_behaviour: bool = False
) -> Schedule:
    """The schedule of an `lr` section `{name: Cosine, learning_rate: 0.04, warmup_epoch: 5}`, or of a number.

    `steps_per_epoch` is the number of updates of an epoch. Raises UserError for an unknown name, or an
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
    return schedules.build(
        section,
        place.path,
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
        reference_behaviour=reference_behaviour,
    )
