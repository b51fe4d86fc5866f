"""Labels, classes and batches of the data sets: what fits together and what does not."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from lookalike.core.component import Component
from lookalike.core.errors import UserError
from lookalike.doctor.findings import Report, listed
from lookalike.doctor.sets import Block, Sets
from lookalike.doctor.split import too_few_to_score
from lookalike.evaluation.verification import FOLDS
from lookalike.images import Records, check_labels
from lookalike.recipe import Recipe
from lookalike.training.benchmark import check_kind, class_numbers

_BY_PICTURE = ("CELoss",)
"""Losses that look at a picture alone; all others compare the pictures of a batch."""


def check_classes(recipe: Recipe, sets: Sets, report: Report) -> None:
    """Training labels against the head, classes that training shares with evaluation, queries that cannot
    be met; classes that a classification cannot know.
    """
    train = sets.train.records if sets.train is not None else None
    if train is not None:
        _training_labels(recipe, train, report)
    mode = recipe.global_.eval_mode
    for name, (query, gallery) in sets.searches.items():
        if query.records is not None:
            with report.catch("evaluation"):
                check_kind(query.records, mode)
            if query.records.pairs is not None:
                _pairs_of(name, query.records, report)
                continue
        if train is not None and query.records is not None:
            _shared_classes(name, train, query.records, report)
        if mode == "classification":
            if query.records is not None:
                with report.catch("classes"):
                    class_numbers(recipe, query.records, train)
            continue
        if query.records is not None and gallery.records is not None:
            _positives(name, query, gallery, report)
        if name == "Eval" and query.records is not None:
            few = too_few_to_score(len(query.records), query.records.num_classes)
            if few:
                report.doubtful("queries", f"{name}: {few}")


def _pairs_of(name: str, records: Records, report: Report) -> None:
    for set_name, pairs in (records.pairs or {}).items():
        alike = int(pairs.same.sum())
        text = f"{name}: {len(pairs)} pairs of {set_name}, {alike} of them of one identity"
        if len(pairs) < FOLDS or alike in (0, len(pairs)):
            report.wrong("pairs", f"{text}: {FOLDS} folds need as many pairs, and pairs of both kinds")
        else:
            report.right("pairs", text)


def _training_labels(recipe: Recipe, train: Records, report: Report) -> None:
    heads = [network.get("Head") for network in recipe.networks.values()]
    counts = [head.get("class_num") for head in heads if isinstance(head, Mapping)]
    for wanted in dict.fromkeys(count for count in counts if count is not None):
        _labels_of_head(wanted, train, report)


def _labels_of_head(wanted: Any, train: Records, report: Report) -> None:
    try:
        class_num = int(wanted)
        check_labels(train, class_num)
    except (TypeError, ValueError):
        return  # the head says so itself
    except UserError as error:
        report.wrong("labels", str(error))
        return
    empty = np.setdiff1d(np.arange(class_num), train.labels)
    if len(empty):
        shown = listed([str(label) for label in empty])
        numbered = int(train.labels.max()) + 1
        advice = (
            f"set class_num to {numbered}"
            if len(empty) == class_num - numbered
            else "relabel: True numbers the labels without gaps"
        )
        report.doubtful(
            "labels",
            f"Arch.Head.class_num is {class_num}, but {len(empty)} of the classes have no training picture "
            f"(labels "
            f"{shown}): {advice}",
        )
    else:
        report.right("labels", f"0 to {class_num - 1}, each with pictures: fits Arch.Head.class_num")


def _shared_classes(name: str, train: Records, query: Records, report: Report) -> None:
    """Told, not judged: both kinds of evaluation have their use."""
    known = {train.name_of(int(label)) for label in np.unique(train.labels)}
    asked = {query.name_of(int(label)) for label in np.unique(query.labels)}
    both = known & asked
    if not both:
        text = f"{name}: none of its {len(asked)} classes is trained on (open set)"
    else:
        text = f"{name}: {len(both)} of its {len(asked)} classes are trained on as well (closed set)"
        if (train.class_names is None) or (query.class_names is None):
            text += ", if both lists number the classes alike"
    report.right("classes", text)


def _positives(name: str, query: Block, gallery: Block, report: Report) -> None:
    """Queries whose class is not in the gallery, or only as the same file, or from the same camera."""
    asked, offered = query.records, gallery.records
    assert asked is not None
    assert offered is not None
    cameras = asked.cameras is not None and offered.cameras is not None
    by_label: Counter[int] = Counter(offered.labels.tolist())
    excluded: Counter[tuple[int, int]] = Counter()
    if cameras:
        excluded = Counter(zip(offered.labels.tolist(), offered.cameras.tolist(), strict=True))  # type: ignore[union-attr]
    files = set(offered.paths)
    lone = []
    for index, label in enumerate(asked.labels.tolist()):
        left = by_label[label]
        if cameras:
            left -= excluded[label, int(asked.cameras[index])]  # type: ignore[index]
        elif asked.paths[index] in files:
            left -= 1
        if left <= 0:
            lone.append(index)
    where = "set" if query is gallery else "gallery"
    if not lone:
        report.right("positives", f"{name}: each of the {len(asked)} queries has its like in the {where}")
        return
    shown = listed([asked.where(index) for index in lone], 3)
    text = (
        f"{name}: {len(lone)} of {len(asked)} queries have no other picture of their class in the {where} "
        f"({shown})"
    )
    if len(lone) == len(asked):
        report.wrong(
            "positives", f"{text}: there is nothing to score; do both lists number the classes alike?"
        )
    else:
        report.doubtful("positives", f"{text}: they are left out of the figures")


def check_batches(recipe: Recipe, sets: Sets, report: Report) -> int | None:
    """The batches of an epoch and what is in one. Returns the updates of an epoch, None where that is not
    known.
    """
    loader = sets.train.loader if sets.train is not None else None
    if loader is None:
        return None
    settings = recipe.global_
    wanted = settings.iter_per_epoch or len(loader)
    if wanted < settings.update_freq:
        report.wrong(
            "batches",
            f"an epoch has {wanted} batches, too few for one update (Global.update_freq "
            f"{settings.update_freq}): use a "
            "smaller batch, or drop_last: False",
        )
    loader.set_epoch(1)
    labels = loader.records.labels
    batches = [list(batch) for batch in itertools.islice(loader.sampler, 8)]
    _, counts = np.unique(labels[batches[0]], return_counts=True)
    per_class = f"{counts.min()}" if counts.min() == counts.max() else f"{counts.min()} to {counts.max()}"
    report.right(
        "batches",
        f"{len(batches[0])} pictures: {len(counts)} classes with {per_class} each; {wanted} an epoch",
    )
    _tell_of_pairs(recipe, labels, batches, report)
    return max(1, wanted // settings.update_freq)


def _tell_of_pairs(recipe: Recipe, labels: np.ndarray, batches: list[list[int]], report: Report) -> None:
    pairwise = [
        name for name in (Component.of(entry).name for entry in recipe.loss_train) if name not in _BY_PICTURE
    ]
    if not pairwise:
        return
    alone = [float((_occurrences(labels[batch]) == 1).mean()) for batch in batches]
    share = float(np.mean(alone))
    if share > 0.5:
        report.doubtful(
            "batches",
            f"{listed(pairwise)} compares the pictures of a batch, but {100 * share:.0f} % of them are alone "
            f"with "
            "their class there: use PKSampler",
        )
    repeated = float(np.mean([1 - len(set(batch)) / len(batch) for batch in batches]))
    if repeated > 0.1:
        report.doubtful(
            "batches",
            f"{100 * repeated:.0f} % of a batch are repeated pictures, as classes have fewer than the "
            f"sampler draws of "
            "each: lower sample_per_id",
        )


def _occurrences(labels: np.ndarray) -> np.ndarray:
    """How often the label of each element occurs."""
    _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return np.asarray(counts[inverse])
