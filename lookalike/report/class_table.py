"""The figures of each class, to sort and to filter; without a script it is a table with the worst first."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

import numpy as np

from lookalike.evaluation.tables import class_table as class_rows
from lookalike.evaluation.tables import figures_of_queries
from lookalike.report.headline import shown_name
from lookalike.report.page import escaped
from lookalike.report.view import View

ROWS = 1000


def class_table(view: View) -> str:
    """A row for each class of the queries: how many pictures, and each figure as the mean of its queries.

    Of more than a thousand classes, those with the worst first figure are shown.
    """
    figures_of = list(figures_of_queries(view.evaluation).items())
    labels, examples = np.unique(view.query.labels, return_index=True)
    pictures = _gallery_counts(view)
    rows: list[list[Any]] = []
    for label, row, (_, queries, matched, *figures) in zip(
        labels.tolist(), examples.tolist(), islice(class_rows(view.evaluation), 1, None), strict=True
    ):
        values = [None if each == "" else each for each in figures]
        rows.append([view.query_class(row), queries, matched, pictures.get(label, 0), *values])
    first = figures_of[0][0] if figures_of else ""
    falling = first == "first_hit_rank"  # the only figure of which less is better

    def order(row: list[Any]) -> Any:
        figure = row[4] if figures_of else None
        # classes without any match have no figure, and stand last
        return figure is None, (figure or 0) * (-1 if falling else 1), -row[1], row[0]

    rows.sort(key=order)
    total = len(rows)
    names = [shown_name(key) + ("" if name == "first_hit_rank" else " %") for key, name in figures_of]
    head = ["class", "queries", "with a match", "gallery", *names]
    show: list[Callable[[Any], str]] = [
        *[_whole] * 4,
        *(_rank if name == "first_hit_rank" else _percent for _, name in figures_of),
    ]
    kept = [0, 1, 2, 3, *range(4, len(head))]
    if all(each[1] == each[2] for each in rows):
        kept.remove(2)
    sorted_by = "descending" if falling else "ascending"
    cells = "".join(_head_cell(head[place], place > 0, sorted_by if place == 4 else "") for place in kept)
    body = "".join(
        _row([each[place] for place in kept], [show[place] for place in kept]) for each in rows[:ROWS]
    )
    cut = (
        f"<p class='note'>{ROWS:,} of {total:,} classes are shown"
        + (f", those with the worst {escaped(shown_name(first))}" if first else "")
        + "; <code>--per-class-csv FILE</code> writes all of them.</p>"
        if total > ROWS
        else ""
    )
    return (
        f"{cut}<div class='card classes'><div class='filter' hidden><label>Find a class "
        "<input type='search' autocomplete='off' spellcheck='false'></label> "
        "<span class='soft' role='status'></span></div>"
        "<div class='scroll' role='region' aria-label='Figures of each class' tabindex='0'>"
        f"<table class='sortable'><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div></div>"
    )


def _gallery_counts(view: View) -> dict[Any, int]:
    labels = view.gallery.labels
    if view.gallery.distractors is not None:
        labels = labels[~view.gallery.distractors]
    known, counts = np.unique(labels, return_counts=True)
    return dict(zip(known.tolist(), counts.tolist(), strict=True))


def _head_cell(text: str, number: bool, order: str) -> str:
    kind = " class='number'" if number else ""
    sorted_by = f" aria-sort='{order}'" if order else ""
    return f"<th scope='col'{kind}{sorted_by}>{escaped(text)}</th>"


def _row(values: list[Any], show: list[Callable[[Any], str]]) -> str:
    cells = [f"<th scope='row'>{escaped(str(values[0]))}</th>"]
    for value, told in zip(values[1:], show[1:], strict=True):
        key, text = ("", "–") if value is None else (f"{value:.6g}", told(value))
        cells.append(f"<td class='number' data-v='{key}'>{text}</td>")
    return f"<tr>{''.join(cells)}</tr>"


def _whole(value: int) -> str:
    return f"{value:,}"


def _rank(value: float) -> str:
    return f"{value:.2f}"


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"
