"""The queries that went most wrong, with what was found for them."""

from __future__ import annotations

import numpy as np

from lookalike.report.page import escaped
from lookalike.report.thumbnails import Thumbnails, judged
from lookalike.report.view import View

QUERIES = 20
OF_ONE_CLASS = 2
ANSWERS = 5


def chosen_queries(view: View) -> list[int]:
    """Rows of the queries whose first right picture comes latest, few of any one class.

    Of equal ones those come first whose wrong answer is further ahead of the right one.
    """
    result = view.result
    assert result.first_hit_rank is not None
    assert result.best_other is not None
    assert result.best_positive is not None
    scored = np.flatnonzero(result.has_positive)
    lead = result.best_other[scored].astype(np.float64) - result.best_positive[scored]
    order = scored[np.lexsort((-lead, -result.first_hit_rank[scored]))]
    taken: dict[object, int] = {}
    chosen: list[int] = []
    for row in order.tolist():
        label = view.query.labels[row].item()
        if taken.get(label, 0) < OF_ONE_CLASS:
            taken[label] = taken.get(label, 0) + 1
            chosen.append(row)
            if len(chosen) == QUERIES:
                break
    return chosen


def worst_queries(view: View, pictures: Thumbnails) -> str:
    """A row for each of the worst queries: the query, its nearest pictures, and its first right one."""
    assert view.result.first_hit_rank is not None
    rows = chosen_queries(view)
    wrong = [row for row in rows if view.result.first_hit_rank[row] > 1]
    if wrong:
        words = (
            "<p>The queries whose first right picture comes latest, at most "
            f"{OF_ONE_CLASS} of a class. <em>Last in a row</em>: the first right picture, where it is among "
            f"the first {view.top.indices.shape[1]}.</p>"
        )
    else:
        wrong = rows
        words = "<p>Every query found a right picture first. These had the narrowest lead.</p>"
    return words + f"<div class='queries'>{''.join(_row(view, row, pictures) for row in wrong)}</div>"


def _row(view: View, row: int, pictures: Thumbnails) -> str:
    assert view.result.first_hit_rank is not None
    rank = int(view.result.first_hit_rank[row])
    told = (
        f"<strong>{escaped(view.query_class(row))}</strong>"
        f"<br><span class='soft'>first right picture: place {rank:,}</span>"
    )
    places = view.top.indices[row]
    cells = [
        _answer(view, row, place, pictures)
        for place in range(min(ANSWERS, len(places)))
        if places[place] >= 0
    ]
    right = view.gallery.labels[places] == view.query.labels[row]
    if view.gallery.distractors is not None:
        right &= ~view.gallery.distractors[places]
    right &= places >= 0
    if right[ANSWERS:].any() and not right[:ANSWERS].any():
        cells.append(_answer(view, row, int(np.argmax(right)), pictures, f"<br>place {rank:,}"))
    query = pictures.figure(view.query, row, told, "query")
    return (
        f"<section class='card query-row' aria-label='query of class {escaped(view.query_class(row))}'>"
        f"{query}<div class='answers'>{''.join(cells)}</div></section>"
    )


def _answer(view: View, row: int, place: int, pictures: Thumbnails, more: str = "") -> str:
    found = int(view.top.indices[row, place])
    known = view.gallery.distractors is None or not view.gallery.distractors[found]
    right = bool(known and view.gallery.labels[found] == view.query.labels[row])
    similarity = float(view.similarity(view.top.similarities[row, place]))
    caption = judged(view.gallery_class(found), similarity, right) + more
    return pictures.figure(view.gallery, found, caption, "right" if right else "wrong")
