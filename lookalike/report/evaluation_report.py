"""The report of an evaluation: one file that can be mailed, kept, and read without a network."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from importlib.resources import files
from pathlib import Path

from lookalike.core.errors import UserError
from lookalike.evaluation.scoring import Evaluation
from lookalike.report.class_table import class_table
from lookalike.report.confusion import confused_pairs
from lookalike.report.dataset_facts import dataset_facts, fact_list
from lookalike.report.headline import headline, unmatched
from lookalike.report.histogram import Mark, similarity_histogram
from lookalike.report.page import escaped, write_page
from lookalike.report.ranking_curves import ranking_curves
from lookalike.report.thumbnails import Thumbnails
from lookalike.report.view import View
from lookalike.report.worst_queries import worst_queries

ANSWERS = 50
"""The `top_k` to evaluate with: how deep the curves go, and where the first right picture is looked for."""


def write_evaluation_report(
    path: str | Path,
    evaluation: Evaluation,
    scored: Sequence[tuple[str, str]] = (),
    marks: Sequence[Mark] = (),
) -> None:
    """Write the report of an evaluation that was made with `top_k=ANSWERS, keep_features=True`.

    scored: what was scored, as (name, value): the recipe, the weights, the lists. marks: thresholds of the
    model, drawn where the evaluation has `pairs`. Pictures are read only where they are shown; those that
    cannot be read are counted and told. Nothing is ranked again.

    Raises UserError where the file cannot be written, ValueError for an evaluation without what it tells of.
    """
    view = View.of(evaluation)
    pictures = Thumbnails()
    now = datetime.now().astimezone()
    facts = [*scored, ("written", f"{now:%d %B %Y, %H:%M}")]
    sections = [
        ("figures", "The figures", headline(view)),
        ("curves", "How soon right pictures come", ranking_curves(view)),
        ("similarities", "Similarities", similarity_histogram(view, marks)),
        ("confused", "Most confused classes", confused_pairs(view, pictures)),
        ("worst", "Worst queries", worst_queries(view, pictures)),
        ("classes", "Each class", class_table(view)),
        ("data", "The data", dataset_facts(view)),
    ]
    sections = [each for each in sections if each[2]]
    links = "".join(f"<li><a href='#{name}'>{escaped(title)}</a></li>" for name, title, _ in sections)
    parts = [
        "<h1>Retrieval report</h1>",
        f"<p class='lead'>{_lead(view)}</p>",
        fact_list(facts),
        unmatched(view),
        pictures.note(),
        f"<nav aria-label='Sections'><ul>{links}</ul></nav>",
        *(
            f"<section id='{name}'><h2>{escaped(title)}</h2>{part}</section>"
            for name, title, part in sections
        ),
    ]
    try:
        write_page(
            Path(path),
            "Retrieval report",
            [part for part in parts if part],
            style=_beside("evaluation_report.css"),
            script=_beside("class_table.js"),
        )
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from None


def _lead(view: View) -> str:
    first = view.result.first_hit_rank
    assert first is not None
    scored = int(view.result.has_positive.sum())
    right = int((first == 1).sum())
    searched = "all the others" if view.one_set else f"a gallery of {view.result.gallery:,} pictures"
    return (
        f"{scored:,} pictures were searched for in {searched}. The nearest picture was of the right class "
        f"for <strong>{right:,}</strong> of them ({100 * right / scored:.1f} %) and of another class for "
        f"{scored - right:,}."
    )


def _beside(name: str) -> str:
    return files("lookalike.report").joinpath(name).read_text(encoding="utf-8")
