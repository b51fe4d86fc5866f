"""The picture files of the data sets: missing, broken, the same twice; and how they are prepared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lookalike.core.component import Component
from lookalike.core.numbers import parse_number
from lookalike.doctor.copies import same_content, shared_content
from lookalike.doctor.findings import Report, listed
from lookalike.doctor.sets import Block, Sets
from lookalike.images import check_images
from lookalike.model import backbone_normalisation
from lookalike.recipe import Recipe

SAMPLE = 200
"""Pictures of each set that are decoded without `--full`, spread evenly."""
MOST_COMPARED = 50_000
"""Pictures whose contents are compared without `--full`."""
NO_MATTER = 0.01
"""Share of copies up to which a leak is told, but moves figures too little to forbid a run."""
_SHOWN = 10


def check_pictures(sets: Sets, full: bool, report: Report) -> set[str]:
    """Look for the files of all sets and decode a sample of each (`full`: all). Returns the paths of
    broken ones.
    """
    broken: set[str] = set()
    seen: set[tuple[str, int]] = set()
    for block in sets.blocks():
        records = block.files
        if records is None or (records.origin, len(records)) in seen:
            continue
        seen.add((records.origin, len(records)))
        broken |= _look(block, full, report)
    return broken


def _look(block: Block, full: bool, report: Report) -> set[str]:
    records = block.files
    assert records is not None
    count = len(records)
    found = dict(check_images(records, decode=False))
    chosen = (
        np.arange(count)
        if full
        else np.unique(np.linspace(0, count - 1, min(count, SAMPLE)).astype(np.int64))
    )
    chosen = np.array([index for index in chosen.tolist() if index not in found], dtype=np.int64)
    decoded = check_images(records.subset(chosen))
    found.update((int(chosen[position]), reason) for position, reason in decoded)
    if not found:
        looked = (
            "all decoded" if full or len(chosen) == count else f"{len(chosen)} of them decoded (--full: all)"
        )
        report.right("pictures", f"{block.name}: {count} files are there, {looked}")
        return set()
    missing = len(found) - len(decoded)
    share = missing / count + (len(decoded) / max(len(chosen), 1)) * (1 - missing / count)
    allowed = _allowed_share(block)
    lines = [
        f"{records.where(index)}: {records.paths[index]}: {reason}"
        for index, reason in sorted(found.items())[:_SHOWN]
    ]
    if len(found) > _SHOWN:
        lines.append(f"… and {len(found) - _SHOWN} more")
    text = f"{block.path}: {len(found)} of {count} pictures are missing or broken"
    if share > allowed:
        end = f", more than max_broken_share ({allowed:g}) allows:"
        report.wrong("pictures", "\n".join([text + end, *lines]))
    else:
        report.doubtful("pictures", "\n".join([f"{text}; training leaves them out:", *lines]))
    return {records.paths[index] for index in found}


def _allowed_share(block: Block) -> float:
    if block.loader is not None:
        return float(block.loader.dataset.max_broken_share)
    dataset = block.section.get("dataset")
    given = dataset.get("max_broken_share", 0.01) if isinstance(dataset, Mapping) else 0.01
    try:
        return parse_number(given) if isinstance(given, str) else float(given)
    except (TypeError, ValueError):
        return 0.01


def check_copies(sets: Sets, full: bool, report: Report) -> None:
    """Files with the same bytes: in training and in what is scored (a leak), in query and gallery, in two
    classes.
    """
    total = sum(len(files) for block in sets.blocks() if (files := block.files) is not None)
    if total > MOST_COMPARED and not full:
        report.right("copies", f"not looked for among {total} pictures (--full does)")
        return
    before = len(report.findings)
    train = sets.train
    if train is not None and train.records is not None:
        _two_classes(train, report)
        for name, (query, gallery) in sets.searches.items():
            # the very same files may be meant, to try a recipe out; copies under other names are an accident
            meant = _holds_all(train, query)
            why = f"{name}: figures of pictures that were trained on mean nothing"
            _leak(train, query, why, not meant, report)
            if gallery is not query:
                closed = _shares_classes(train, query)
                why = (
                    "a gallery may hold them where its classes are trained on"
                    if closed
                    else f"{name} is open set"
                )
                _leak(train, gallery, why, not closed, report)
    for query, gallery in sets.searches.values():
        if query is not gallery:
            _leak(query, gallery, "finding a copy is no recognition", False, report)
    if "Validation" in sets.searches and "Eval" in sets.searches:
        chosen, scored = sets.searches["Validation"][0], sets.searches["Eval"][0]
        _leak(chosen, scored, "what is scored should not have chosen the model", False, report)
    if len(report.findings) == before and total:
        report.right("copies", "no file of one set is in another one")


def _holds_all(train: Block, query: Block) -> bool:
    if train.files is None or query.files is None:
        return False
    return set(query.files.paths) <= set(train.files.paths)


def _shares_classes(train: Block, query: Block) -> bool:
    if train.records is None or query.records is None:
        return False
    names = [
        {records.name_of(int(label)) for label in np.unique(records.labels)}
        for records in (train.records, query.records)
    ]
    return bool(names[0] & names[1])


def _leak(one: Block, other: Block, why: str, wrong: bool, report: Report) -> None:
    here, there = one.files, other.files
    if here is None or there is None:
        return
    pairs = shared_content(here.paths, there.paths)
    if one.name.endswith("Query"):  # an evaluation passes over the query's own file
        pairs = [(a, b) for a, b in pairs if here.paths[a] != there.paths[b]]
    if not pairs:
        return
    first = [f"{here.where(a)} and {there.where(b)}" for a, b in pairs]
    say = report.wrong if wrong and len(pairs) > NO_MATTER * len(there) else report.doubtful
    plural = "s are" if len(pairs) > 1 else " is"
    say(
        "copies",
        f"{len(pairs)} file{plural} both in {one.name} and in {other.name} ({listed(first, 3)}): {why}",
    )


def _two_classes(train: Block, report: Report) -> None:
    records = train.files
    assert records is not None
    groups = [
        group
        for group in same_content(records.paths)
        if len({int(records.labels[index]) for index in group}) > 1
    ]
    if groups:
        shown = listed([" and ".join(records.where(index) for index in group[:2]) for group in groups], 3)
        stand = "1 picture stands" if len(groups) == 1 else f"{len(groups)} pictures stand"
        report.doubtful("copies", f"{stand} under two classes of {train.name} ({shown})")


def check_preparation(recipe: Recipe, sets: Sets, report: Report) -> None:
    """Whether pictures are normalised alike where they are trained on and scored, and as the weights
    expect it.
    """
    found = {block.path: _normalisation(block.section) for block in sets.blocks()}
    given = {path: values for path, values in found.items() if values is not None}
    reference = next(iter(given.items()), None)
    if reference is None:
        return
    for path, values in given.items():
        if values != reference[1]:
            report.doubtful(
                "transforms",
                f"{path} normalises with {_told(values)}, but {reference[0]} with {_told(reference[1])}: "
                f"write the same",
            )
    backbone = recipe.network.get("Backbone")
    if isinstance(backbone, Mapping) and backbone.get("pretrained") is True:
        name = Component.of(backbone).name
        if name.startswith("timm/"):
            with report.catch("model"):
                expected = backbone_normalisation(name)
                if reference[1] != (tuple(expected.mean), tuple(expected.std)):
                    report.doubtful(
                        "transforms",
                        f"{reference[0]} normalises with {_told(reference[1])}, but the weights of {name} "
                        f"expect "
                        f"{_told((tuple(expected.mean), tuple(expected.std)))}",
                    )


Values = tuple[tuple[float, ...], tuple[float, ...]]


def _normalisation(section: Any) -> Values | None:
    """Mean and standard deviation of the NormalizeImage of a block, None without one."""
    dataset = section.get("dataset")
    operations = dataset.get("transform_ops") if isinstance(dataset, Mapping) else None
    for operation in operations or []:
        if isinstance(operation, Mapping) and isinstance(operation.get("NormalizeImage"), Mapping):
            values = operation["NormalizeImage"]
            mean, std = values.get("mean", (0.485, 0.456, 0.406)), values.get("std", (0.229, 0.224, 0.225))
            try:
                return tuple(float(each) for each in mean), tuple(float(each) for each in std)
            except (TypeError, ValueError):
                return None
    return None


def _told(values: Values) -> str:
    return f"mean {list(values[0])}, std {list(values[1])}"
