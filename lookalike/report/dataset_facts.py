"""What was scored on: how many pictures of how many classes, and what was left out."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from lookalike.report.page import escaped
from lookalike.report.view import View

BROKEN = 20


def dataset_facts(view: View) -> str:
    """Counts, the distribution of pictures over classes, and the pictures that were left out."""
    return _counts(view) + _distribution(view) + _broken(view)


def _counts(view: View) -> str:
    query, gallery = view.query, view.gallery
    known = gallery.labels if gallery.distractors is None else gallery.labels[~gallery.distractors]
    in_query, in_gallery = np.unique(query.labels), np.unique(known)
    shared = np.intersect1d(in_query, in_gallery)
    facts = []
    if view.one_set:
        facts.append(("pictures", f"{len(query):,}, each searched among all the others"))
        facts.append(("classes", f"{len(in_query):,}"))
    else:
        facts.append(("queries", f"{len(query):,} of {len(in_query):,} classes"))
        facts.append(("gallery", f"{len(gallery):,} pictures of {len(in_gallery):,} classes"))
        facts.append(("classes in both", f"{len(shared):,}"))
    if gallery.distractors is not None:
        facts.append(
            ("distractors", f"{int(gallery.distractors.sum()):,} gallery pictures of no known class")
        )
    facts.append(("without a match", f"{view.result.queries_without_positive:,} queries"))
    if query.cameras is not None and gallery.cameras is not None:
        facts.append(("cameras", "pictures of the class and the camera of a query are not searched"))
    kind = "bits, compared by how many are equal" if query.binary else "numbers"
    facts.append(("features", f"{query.features.shape[1]:,} {kind}"))
    facts.append(("left out", f"{len(view.evaluation.broken):,} pictures that cannot be read"))
    if view.named_by_folder:
        facts.append(("names", "classes are called by the folder of their pictures"))
    return fact_list(facts)


def fact_list(facts: list[tuple[str, str]]) -> str:
    """Names and what is to be said of each."""
    entries = "".join(
        f"<div><dt>{escaped(name)}</dt><dd>{escaped(value)}</dd></div>" for name, value in facts
    )
    return f"<dl class='card facts'>{entries}</dl>"


def spans(counts: npt.NDArray[np.int64]) -> list[tuple[str, int]]:
    """Classes by how many pictures they have: spans of 1, 2, 3–5, 6–10, 11–20, 21–50, …, without empty ones
    at either end.
    """
    bounds = [0]
    unit = 1
    while bounds[-1] < counts.max():
        bounds += [1 * unit, 2 * unit, 5 * unit]
        unit *= 10
    found = []
    for low, high in pairwise(bounds):
        name = f"{high:,}" if high == low + 1 else f"{low + 1:,}–{high:,}"
        found.append((name, int(np.count_nonzero((counts > low) & (counts <= high)))))
    used = [place for place, (_, classes) in enumerate(found) if classes]
    return found[used[0] : used[-1] + 1]


def _distribution(view: View) -> str:
    parts = []
    sets = [("Pictures", view.query)]
    if not view.one_set:
        sets = [("Queries", view.query), ("Gallery pictures", view.gallery)]
    for name, each in sets:
        labels = each.labels if each.distractors is None else each.labels[~each.distractors]
        if not len(labels):
            continue
        counts = np.unique(labels, return_counts=True)[1]
        groups = spans(counts)
        most = max(classes for _, classes in groups)
        bars = "".join(
            f"<tr><th scope='row'>{span}</th><td><span class='bar' style='width:{100 * classes / most:.1f}%'>"
            f"</span></td><td class='number'>{classes:,}</td></tr>"
            for span, classes in groups
        )
        parts.append(
            f"<div class='card'><h3>{name} of a class</h3><p class='soft'>from {counts.min():,} to "
            f"{counts.max():,}, half of the classes have at most {int(np.median(counts)):,}</p>"
            "<table class='bars'><thead><tr><th scope='col'>how many</th><th></th>"
            f"<th scope='col' class='number'>classes</th></tr></thead><tbody>{bars}</tbody></table></div>"
        )
    return f"<div class='charts'>{''.join(parts)}</div>"


def _broken(view: View) -> str:
    broken = view.evaluation.broken
    if not broken:
        return ""
    lines = "".join(f"<li>{escaped(str(each))}</li>" for each in broken[:BROKEN])
    more = f"<p class='soft'>… and {len(broken) - BROKEN:,} more.</p>" if len(broken) > BROKEN else ""
    many = "One picture" if len(broken) == 1 else f"{len(broken):,} pictures"
    return (
        f"<details open class='card'><summary>{many} could not be read and took no part</summary>"
        f"<ul class='broken'>{lines}</ul>{more}</details>"
    )
