"""Which classes are taken for each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lookalike.report.page import escaped
from lookalike.report.thumbnails import Thumbnails, judged
from lookalike.report.view import NO_CLASS, View

PAIRS = 12


@dataclass(frozen=True)
class Confusion:
    """Two classes and the queries of each whose nearest picture is of the other one.

    The second class may be that of distractors, which has no queries.
    """

    names: tuple[str, str]
    rows: tuple[list[int], list[int]]

    @property
    def count(self) -> int:
        """How many queries it concerns."""
        return len(self.rows[0]) + len(self.rows[1])


def confusions(view: View) -> list[Confusion]:
    """Pairs of classes by how many queries have a wrong nearest picture, most first.

    Queries without a match are left out: they have no right answer to miss. As in the figures, a wrong
    picture that is exactly as near as a right one counts as nearer.
    """
    result = view.result
    assert result.first_hit_rank is not None
    assert result.nearest_other is not None
    found: dict[frozenset[str], dict[str, list[int]]] = {}
    for row in np.flatnonzero(result.first_hit_rank > 1).tolist():
        true, answered = view.query_class(row), view.gallery_class(int(result.nearest_other[row]))
        found.setdefault(frozenset((true, answered)), {}).setdefault(true, []).append(row)
    pairs = []
    for names, rows in found.items():
        # the class with more mistakes first; two classes of one name are told as one
        first, its = min(rows.items(), key=lambda side: (-len(side[1]), side[0]))
        second = next(iter(names - {first}), first)
        pairs.append(Confusion((first, second), (its, rows.get(second, []) if second != first else [])))
    return sorted(pairs, key=lambda pair: (-pair.count, pair.names))


def confused_pairs(view: View, pictures: Thumbnails) -> str:
    """The most confused pairs, each with the clearest mistake in either direction."""
    all_pairs = confusions(view)
    if not all_pairs:
        return "<p>None: the nearest picture of every query that has a match is of its class.</p>"
    wrong = sum(pair.count for pair in all_pairs)
    shown = all_pairs[:PAIRS]
    covered = sum(pair.count for pair in shown)
    words = (
        f"<p>The nearest picture of {wrong:,} queries is of another class, in {len(all_pairs):,} pairs of "
        f"classes. "
        + (
            f"These {len(shown)} pairs account for {covered:,} of them. "
            if len(shown) < len(all_pairs)
            else ""
        )
        + "Each pair shows a query and the wrong picture that was nearest to it.</p>"
    )
    return words + f"<div class='pairs'>{''.join(_pair(view, pair, pictures) for pair in shown)}</div>"


def _pair(view: View, pair: Confusion, pictures: Thumbnails) -> str:
    first, second = (escaped(name) for name in pair.names)
    sides = []
    for rows, true, answered in zip(pair.rows, (first, second), (second, first), strict=True):
        if not rows:
            continue
        of = _queries_of(view, view.query.labels[rows[0]])
        sides.append(
            f"<p>{len(rows)} of {of} queries of <strong>{true}</strong> found <strong>{answered}</strong></p>"
            f"<div class='duo'>{_mistake(view, rows, pictures)}</div>"
        )
    title = f"{first} <span class='soft'>and</span> {second}"
    if NO_CLASS in pair.names:
        title = f"{first} <span class='soft'>and pictures of no known class</span>"
    return f"<article class='card'><h3>{title}</h3>{''.join(sides)}</article>"


def _mistake(view: View, rows: list[int], pictures: Thumbnails) -> str:
    """The query of these that is surest of its wrong answer, and that answer."""
    assert view.result.best_other is not None
    assert view.result.nearest_other is not None
    assert view.result.best_positive is not None
    chosen = rows[0] if len(rows) == 1 else max(rows, key=lambda row: (_lead(view, row), -row))
    place = int(view.result.nearest_other[chosen])
    similarity = float(view.similarity(view.result.best_other[chosen]))
    query = f"<span class='soft'>query:</span> {escaped(view.query_class(chosen))}"
    return pictures.figure(view.query, chosen, query, "query") + pictures.figure(
        view.gallery, place, judged(view.gallery_class(place), similarity, right=False), "wrong"
    )


def _lead(view: View, row: int) -> float:
    assert view.result.best_other is not None
    assert view.result.best_positive is not None
    return float(view.result.best_other[row]) - float(view.result.best_positive[row])


def _queries_of(view: View, label: object) -> int:
    return int(np.count_nonzero((view.query.labels == label) & view.result.has_positive))
