"""Similarities of pairs of one class and of two, and where a threshold divides them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lookalike.report.chart import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Chart,
    drawing,
    nice_step,
    percent,
    ticks,
)
from lookalike.report.page import escaped, table
from lookalike.report.view import View
from lookalike.retrieval import PairCounts, scores_needed

BARS = 50
RATES = (0.1, 0.01, 0.001, 0.0001)
DRAWN_RATE = 0.01


@dataclass(frozen=True)
class Mark:
    """A similarity that a line is drawn at, such as a threshold of the model folder."""

    name: str
    similarity: float


def similarity_histogram(view: View, marks: Sequence[Mark] = ()) -> str:
    """The two distributions with thresholds, and what each threshold accepts; empty without pairs."""
    pairs = view.result.pairs
    if pairs is None or not pairs.positives.any() or not pairs.others.any():
        return ""
    times = 2 if view.one_set else 1
    same, other = int(pairs.positives.sum()) // times, int(pairs.others.sum()) // times
    rates = [rate for rate in RATES if other >= scores_needed(rate)]
    drawn = [Mark(f"accepts {percent(DRAWN_RATE)} of others", _threshold(view, pairs, DRAWN_RATE))]
    lines = [*(drawn if DRAWN_RATE in rates else []), *marks]
    rows = [
        [percent(rate), f"{_threshold(view, pairs, rate):.3f}", percent(pairs.true_accept_rate(rate))]
        for rate in rates
    ]
    chart = drawing(
        "How alike pictures are",
        f"Histogram of the {view.measure} of {same:,} pairs of one class and {other:,} pairs of two. "
        + "; ".join(f"{each.name}: {each.similarity:.3f}" for each in lines),
        _bars(view, pairs, lines),
        _legend(same, other),
    )
    words = (
        "<div class='card'><h3>Where to draw the line</h3><p>Two pictures are taken for the same class where "
        f"their {view.measure} is at least the threshold. A right pair is more alike than a wrong one in "
        f"<strong>{percent(pairs.area())}</strong> of all cases (the area under the curve).</p>"
        + table(["wrong pairs accepted", "threshold", "right pairs accepted"], rows)
        + "".join(
            f"<p>The model folder says <strong>{escaped(each.name)}</strong> from "
            f"{each.similarity:.3f} on.</p>"
            for each in marks
        )
        + "<p class='soft'>Every query is paired with every gallery picture. The larger a gallery is, the "
        "more wrong pairs it holds: <code>lookalike calibrate</code> finds what a search should accept.</p>"
        "</div>"
    )
    return f"<div class='charts'>{chart}{words}</div>"


def _threshold(view: View, pairs: PairCounts, rate: float) -> float:
    return float(view.similarity(pairs.threshold_at(rate)))


def _bars(view: View, pairs: PairCounts, lines: Sequence[Mark]) -> str:
    edges, same, other = binned(view, pairs)
    highest = max(same.max(), other.max())
    low = min([edges[0], *(each.similarity for each in lines)])
    high = max([edges[-1], *(each.similarity for each in lines)])
    chart = Chart((low, high), (0.0, float(highest) * 1.28))  # room for the texts of the lines
    body = _PATTERN + chart.axes(
        (view.measure, "share of pairs"),
        ticks(low, high, 6),
        ticks(0, float(highest), 4),
        percent,
    )
    for kind, shares in (("other", other), ("same", same)):
        outline = [chart.place(edges[0], 0)]
        for left, right, share in zip(edges[:-1], edges[1:], shares, strict=True):
            outline += [chart.place(left, share), chart.place(right, share)]
        outline.append(chart.place(edges[-1], 0))
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in outline)
        body += f"<polygon class='{kind}' points='{path}'/>"
    texts = ""
    for row, each in enumerate(sorted(lines, key=lambda line: line.similarity)):
        x, _ = chart.place(each.similarity, 0)
        left = x > (LEFT + WIDTH - RIGHT) / 2
        y = TOP + 4 + 15 * row
        body += f"<line class='mark-line' x1='{x:.1f}' x2='{x:.1f}' y1='{y - 9}' y2='{HEIGHT - BOTTOM}'/>"
        texts += (
            f"<text class='told' x='{x + (-6 if left else 6):.1f}' y='{y}' "
            f"text-anchor='{'end' if left else 'start'}'>{escaped(each.name)}: {each.similarity:.2f}</text>"
        )
    return body + texts


def binned(
    view: View, pairs: PairCounts
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Some fifty bins over all that occurs: (edges, share of pairs of one class, of two), each of sum 1."""
    used = np.flatnonzero(pairs.positives + pairs.others)
    middles = view.similarity((pairs.edges[:-1] + pairs.edges[1:])[used] / 2)
    step = nice_step(float(middles[-1] - middles[0]), BARS)
    if view.query.binary:  # a bin holds as many values of a code as the next
        bits = view.query.features.shape[1]
        step = np.ceil(step * bits - 1e-9) / bits
    bins = np.floor(middles / step).astype(np.int64)
    first, count = bins[0], bins[-1] - bins[0] + 1
    same, other = (
        np.bincount(bins - first, weights=counts[used], minlength=count) / counts.sum()
        for counts in (pairs.positives, pairs.others)
    )
    return (first + np.arange(count + 1)) * step, same, other


_PATTERN = (
    "<defs><pattern id='hatch' width='6' height='6' patternUnits='userSpaceOnUse' "
    "patternTransform='rotate(45)'><rect class='hatch' width='2' height='6'/></pattern></defs>"
)


def _legend(same: int, other: int) -> str:
    def swatch(kind: str, text: str) -> str:
        return (
            f"<li><svg viewBox='0 0 22 14' width='22' height='14' aria-hidden='true'>"
            f"<rect class='{kind}' x='1' y='1' width='20' height='12'/></svg> {text}</li>"
        )

    return (
        f"<ul class='legend'>{swatch('same', f'{same:,} pairs of one class')}"
        f"{swatch('other', f'{other:,} pairs of two classes')}</ul>"
    )
