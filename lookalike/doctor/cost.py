"""What a run will take, from what a few pictures took: memory and time."""

from __future__ import annotations

import math
import os

from lookalike.doctor.findings import Report
from lookalike.doctor.rehearsal import CLASSES, EACH, Rehearsed
from lookalike.doctor.sets import Sets
from lookalike.recipe import Recipe


def tell_cost(recipe: Recipe, sets: Sets, updates: int | None, measured: Rehearsed, report: Report) -> None:
    """Memory and time of the whole run, from what a few pictures took."""
    total = sum(measured.memory.values())
    report.memory, report.memory_mb = measured.memory, round(total, 1)
    shown = ", ".join(f"{name} {_megabytes(size)}" for name, size in measured.memory.items() if size >= 0.05)
    batch = sets.batch_size(CLASSES * EACH)
    report.right("memory", f"about {_megabytes(total)} for batches of {batch} ({shown})")
    loader = sets.train.loader if sets.train is not None else None
    if loader is None or updates is None or measured.read is None:
        return
    settings = recipe.global_
    images = updates * settings.update_freq * batch
    workers = loader.settings.num_workers
    epoch = images * _per_picture(measured, measured.train, workers) + updates * measured.update
    per_scored = _per_picture(measured, measured.embed * settings.views.cost, workers)
    online = "Validation" if "Validation" in sets.searches else "Eval"
    rounds = math.ceil(settings.epochs / settings.eval_interval) if settings.eval_during_train else 0
    scoring = _pictures_scored(sets, online) * per_scored * rounds
    if online != "Eval" or not rounds:
        scoring += _pictures_scored(sets, "Eval") * per_scored
    if recipe.ema is not None and not recipe.ema.skip_raw_evaluation:
        scoring *= 2
    everything = settings.epochs * epoch + scoring
    report.seconds_per_epoch, report.seconds = round(epoch, 3), round(everything, 3)
    cores = os.cpu_count() or 1
    where = (
        f"{measured.device.type}, {cores} cores" if measured.device.type == "cpu" else str(measured.device)
    )
    report.right(
        "time",
        f"about {spoken(epoch)} an epoch, {spoken(everything)} in all on this machine ({where}); a picture "
        f"takes "
        f"{1000 * measured.read:.1f} ms to read and {1000 * measured.train:.1f} ms to train{_busy(cores)}",
    )
    if measured.device.type != "cpu" and measured.read / max(1, min(workers, cores)) > 2 * measured.train:
        report.doubtful(
            "time",
            f"reading takes longer than training: raise DataLoader.Train.loader.num_workers ({workers}; "
            f"there are "
            f"{cores} cores)",
        )


def _busy(cores: int) -> str:
    """What to add where other programs were using the processor while the time was taken."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return f"; the machine is busy (load {load:.0f}), alone it will be quicker" if load > cores + 1 else ""


def _per_picture(measured: Rehearsed, compute: float, workers: int) -> float:
    """Seconds a picture takes when workers read beside the computation; on a CPU both share the cores."""
    read = measured.read or 0.0
    if workers == 0:
        return read + compute
    cores = os.cpu_count() or 1
    beside = read / min(workers, cores)
    return max(compute + read / cores, beside) if measured.device.type == "cpu" else max(compute, beside)


def _pictures_scored(sets: Sets, name: str) -> int:
    query, gallery = sets.searches.get(name, (None, None))
    blocks = [query] if gallery is query else [query, gallery]
    return sum(len(block.records) for block in blocks if block is not None and block.records is not None)


def spoken(seconds: float) -> str:
    """`40 s`, `12 min`, `2.5 h`."""
    if seconds < 100:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _megabytes(size: float) -> str:
    return f"{size / 1024:.1f} GB" if size >= 1000 else f"{size:.0f} MB" if size >= 10 else f"{size:.1f} MB"
