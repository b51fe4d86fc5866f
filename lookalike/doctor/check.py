"""`check`: everything that can go wrong with a recipe, looked at before the first minute of training."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lookalike.core.log import forget_warnings, is_note, logger
from lookalike.doctor.cost import tell_cost
from lookalike.doctor.findings import Report
from lookalike.doctor.form import read_leniently
from lookalike.doctor.labels import check_batches, check_classes
from lookalike.doctor.modes import check_mode
from lookalike.doctor.parts import check_optimizer, check_parts
from lookalike.doctor.pictures import check_copies, check_pictures, check_preparation
from lookalike.doctor.rehearsal import rehearse
from lookalike.doctor.sets import read_sets
from lookalike.recipe import Recipe, missing_paths


def check_recipe(path_or_name: str | Path, overrides: Sequence[str] = (), full: bool = False) -> Report:
    """Check a recipe, its files and data, and measure what a run will take.

    All problems are in the report, not only the first. Nothing is written and nothing is fetched. `full`
    looks at every picture instead of a sample. Raises nothing for a mistake of the recipe.
    """
    report = Report(str(path_or_name))
    forget_warnings()
    with _warnings_in(report):
        recipe = read_leniently(path_or_name, overrides, report)
        if recipe is not None:
            if report.ok:
                report.right("recipe", "its form is right")
            _check(recipe, full, report)
    return report


def _check(recipe: Recipe, full: bool, report: Report) -> None:
    missing = missing_paths(recipe)
    for key, value in missing:
        report.wrong(
            "files", f"{key}: {value} is not there, seen from {Path.cwd()}; say where with -o {key}=…"
        )
    if not missing:
        report.right("files", "all files and folders that it names are there")
    if recipe.arch and not any(section in recipe.tree for section in ("DataLoader", "Loss", "Optimizer")):
        check_parts(recipe, report, trained=False)
        report.right("recipe", "it says nothing of training: it is for export and use")
        return
    sets = read_sets(recipe, [key for key, _ in missing], report)
    check_classes(recipe, sets, report)
    broken = check_pictures(sets, full, report)
    check_copies(sets, full, report)
    check_preparation(recipe, sets, report)
    updates = check_batches(recipe, sets, report)
    parts = check_parts(recipe, report)
    optimizers = check_optimizer(recipe, parts, updates, report)
    check_mode(recipe, sets, parts, [key for key, _ in missing], report)
    measured = rehearse(recipe, parts, optimizers, sets, broken, report)
    if measured is not None:
        tell_cost(recipe, sets, updates, measured, report)


@contextmanager
def _warnings_in(report: Report) -> Iterator[None]:
    """What the rooms warn of while things are built belongs to the report, not to stderr."""

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno >= logging.WARNING:
                tell = report.note if is_note(record) else report.doubtful
                tell("note", record.getMessage())

    before, propagate = list(logger.handlers), logger.propagate
    collector = Collector()
    logger.handlers, logger.propagate = [collector], False
    try:
        yield
    finally:
        logger.handlers, logger.propagate = before, propagate
