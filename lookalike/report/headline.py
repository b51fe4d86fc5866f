"""The figures of an evaluation in words, with how sure one can be of them."""

from __future__ import annotations

import re

from lookalike.evaluation.tables import intervals, macro_means
from lookalike.report.page import escaped
from lookalike.report.view import View

_WORDS = {
    "recall": "queries with a right picture among the first {k}",
    "true_recall": "of all right pictures, how many are among the first {k}",
    "precision": "of the first {k} pictures, how many are right",
    "mAP": "how early all right pictures come",
    "mAP@k": "how early right pictures come within the first {k}",
    "mAP@R": "how early right pictures come within the first R, of R that are right",
    "R-precision": "of the first R pictures, how many are right, where R are",
    "mINP": "how early the last right picture comes",
    "MRR": "one divided by the place of the first right picture",
    "nDCG": "how early right pictures come, early places weighing more, in the first {k}",
    "TAR": "pairs of one class that are accepted where a share {k} of the pairs of two is",
    "DIR": "queries recognised where a share {k} of unknown things is accepted",
    "first_hit_rank": "mean place of the first right picture",
}


def in_words(name: str) -> str:
    """What a metric of `lookalike.retrieval` says, for people who do not know its name."""
    kind, _, k = name.partition("@")
    if k == "1" and kind in ("recall", "precision"):
        return "queries whose nearest picture is right"
    k = k.removeprefix("FAR=")
    template = _WORDS.get(name) or _WORDS.get(f"{kind}@k") or _WORDS.get(kind, "")
    return template.format(k=k)


def shown_name(key: str) -> str:
    """The name of a figure as people write it: `recall@1` of the key `recall1`."""
    return re.sub(r"^recall(?=[0-9])", "recall@", key)


def headline(view: View) -> str:
    """A card for each figure: its value, in which range it would lie with other queries, what it says."""
    ranges, means = intervals(view.evaluation), macro_means(view.evaluation)
    cards = []
    for key, name in view.evaluation.figures.items():
        show = _plain if name == "first_hit_rank" else _percent
        low, high = ranges[key]
        cards.append(
            f"<div class='card figure'><h3>{escaped(shown_name(key))}</h3>"
            f"<p class='value'>{show(view.evaluation.metrics[key])}</p>"
            f"<p>between <strong>{show(low)}</strong> and <strong>{show(high)}</strong></p>"
            f"<p class='soft'>{escaped(in_words(name))}</p>"
            + (f"<p class='soft'>each class counted alike: {show(means[key])}</p>" if key in means else "")
            + "</div>"
        )
    return f"<div class='figures'>{''.join(cards)}</div>" + (
        "<p class='soft'>“Between”: with other queries of these classes the figure would lie in this range "
        "95 times out of 100 (bootstrap over queries, exact where they all agree). It does not say how other "
        "classes would fare.</p>"
    )


def unmatched(view: View) -> str:
    """How many queries cannot have a right answer; empty where all can."""
    count = view.result.queries_without_positive
    if not count:
        return ""
    many = "One query has" if count == 1 else f"{count:,} queries have"
    return (
        f"<p class='note'><strong>{many} no match</strong>: no other picture of the class is in the gallery "
        "(or only ones that are left out). Such queries are in no figure.</p>"
    )


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _plain(value: float) -> str:
    return f"{value:.2f}"
