"""Queries with the pictures that were found for them, right and wrong marked."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

from lookalike.gallery import Answer
from lookalike.report.page import picture_source


@dataclass(frozen=True)
class Found:
    """One query: its picture, its true label, and what the gallery answered."""

    path: str
    label: str
    answers: list[Answer]


def retrieval_sheet(found: Sequence[Found], columns: int = 5) -> str:
    """A row for each query: the query, then its nearest pictures with label and similarity."""
    cells = []
    for each in found:
        cells.append(_figure(each.path, each.label, "query"))
        for answer in each.answers[:columns]:
            kind = "right" if answer.label == each.label else "wrong"
            cells.append(_figure(answer.path, f"{answer.label} · {answer.score:.2f}", kind))
        cells += ["<span></span>"] * (columns - len(each.answers[:columns]))
    return f"<div class='card'><div class='sheet'>{''.join(cells)}</div></div>"


def _figure(path: str, caption: str, kind: str) -> str:
    text = html.escape(caption)
    picture = f"<img src='{picture_source(path)}' alt='{text}'>"
    return f"<figure class='{kind}'>{picture}<figcaption>{text}</figcaption></figure>"
