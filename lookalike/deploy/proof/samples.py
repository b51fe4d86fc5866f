"""Some of the pictures of a recipe, spread over classes: to try an export on, and to calibrate 8 bits on."""

from __future__ import annotations

import numpy as np

from lookalike.core.component import Component
from lookalike.core.errors import UserError
from lookalike.evaluation.recipe_sets import OF_THE_DATASET, evaluation_records
from lookalike.images import Records, read_records
from lookalike.recipe import Recipe, require_paths


def evaluation_sample(recipe: Recipe, count: int, seed: int = 0) -> Records:
    """At most `count` pictures of query and gallery together.

    Raises UserError where the recipe names none or they are not there.
    """
    require_paths(recipe, ("DataLoader.Eval",))
    query, gallery = evaluation_records(recipe)
    records = query if gallery is None else _joined(query, gallery)
    return records.subset(_spread(records, count, np.random.default_rng(seed)))


def training_sample(recipe: Recipe, count: int, purpose: str, seed: int = 0) -> Records:
    """At most `count` training pictures; errors say that the `purpose` needs them (`--dim learns`).

    Raises UserError where the recipe names none or they are not there.
    """
    block = recipe.data.Train if recipe.data is not None else None
    if not block or not block.get("dataset"):
        raise UserError(f"{recipe.name}: there is no DataLoader.Train, of whose pictures {purpose}")
    require_paths(recipe, ("DataLoader.Train",))
    component = Component.of(block["dataset"], "dataset")
    arguments = {key: value for key, value in component.arguments.items() if key not in OF_THE_DATASET}
    records = read_records(component.with_arguments(arguments))
    if records.boxes is not None:
        raise component.place.error(f"{purpose} of whole pictures, not of parts of them")
    return records.subset(_spread(records, count, np.random.default_rng(seed)))


def _joined(query: Records, gallery: Records) -> Records:
    """Two tables as one, in which a picture that is in both stands once."""
    cameras = None
    if query.cameras is not None and gallery.cameras is not None:
        cameras = np.concatenate([query.cameras, gallery.cameras])
    paths = [*query.paths, *gallery.paths]
    both = Records(
        paths,
        np.concatenate([query.labels, gallery.labels]),
        cameras,
        query.origin,
        class_names=query.class_names,
    )
    first = dict(zip(reversed(paths), reversed(range(len(paths))), strict=True))
    return both.subset(sorted(first.values()))


def _spread(records: Records, count: int, generator: np.random.Generator) -> list[int]:
    """Positions of two pictures of each class, by two cameras where there are such, in an order of classes by
    chance; then two more of each, until there are enough. Classes of one picture come last.
    """
    waiting: dict[int, list[int]] = {}
    for position in generator.permutation(len(records)).tolist():
        waiting.setdefault(int(records.labels[position]), []).append(position)
    if records.cameras is not None:
        for label, positions in waiting.items():
            waiting[label] = _cameras_in_turn(positions, records.cameras)
    chosen: list[int] = []
    while len(chosen) < min(count, len(records)):
        classes = [label for label, left in waiting.items() if len(left) > 1] or list(waiting)
        for label in classes:
            chosen += waiting[label][:2]
            waiting[label] = waiting[label][2:]
            if len(chosen) >= count:
                break
        waiting = {label: left for label, left in waiting.items() if left}
    return sorted(chosen[:count])


def _cameras_in_turn(positions: list[int], cameras: np.ndarray) -> list[int]:
    """Positions so that those of one camera stand apart."""
    times: dict[int, int] = {}
    turns = []
    for position in positions:
        camera = int(cameras[position])
        times[camera] = times.get(camera, 0) + 1
        turns.append((times[camera], position))
    return [position for _, position in sorted(turns, key=lambda turn: turn[0])]
