"""The report of the quickstart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lookalike.quickstart.marks import Drawn
from lookalike.report import Found, curve, retrieval_sheet, table, write_page

ROWS = 12
_NEXT = """<h2>What next: your own pictures</h2>
<p>Put them in one folder per thing, then:</p>
<pre>lookalike init my_pictures -o my.yaml        # looks at the folder, splits it, writes a recipe
lookalike check -c my.yaml                   # finds what would go wrong, before minute one
lookalike train -c my.yaml
lookalike export -c my.yaml -o Global.pretrained_model=output/RecModel/best_model
lookalike gallery create my.gallery --model inference my_pictures
lookalike search my.gallery photo.jpg</pre>
<p class='soft'>The network here is tiny and learnt from nothing. With a pretrained backbone
(<code>timm/…</code>) the same recipe learns photographs. Marks: Font Awesome Free,
SIL OFL 1.1; brands belong to their owners.</p>"""


def write_summary(
    path: Path, results: dict[str, Any], drawn: Drawn, history: list[dict[str, Any]], found: list[Found]
) -> None:
    """Write the page: the numbers, the training curve, rows of query and answers, what to do next."""
    rows = [
        ["pixels compared (16 x 16)", _shown(results["recall1_pixels"]), _shown(results["mAP_pixels"])],
        ["the network before training", _shown(results["recall1_before"]), _shown(results["mAP_before"])],
        ["the network after training", _shown(results["recall1_after"]), _shown(results["mAP_after"])],
    ]
    losses = {"loss": [(float(each["epoch"]), float(each["loss"])) for each in history]}
    parts = [
        "<h1>It recognises brands that it has never seen</h1>",
        f"<p class='soft'>{drawn.pictures} drawn pictures; trained on {drawn.train_brands} brands, "
        f"scored on {drawn.test_brands} others; {results['seconds']:.0f} seconds in all, "
        "most of it training from nothing.</p>",
        table(["on unseen brands", "recall@1", "mAP"], rows, strong=2),
        "<p class='soft'>recall@1: how often the nearest picture of the gallery shows the same brand. "
        "mAP: how early all pictures of the brand come.</p>",
        "<h2>Queries and what the gallery answered</h2>",
        retrieval_sheet(_chosen(found)),
        "<h2>Training</h2>",
        curve(losses, "epoch"),
        _NEXT,
    ]
    write_page(path, "Lookalike quickstart", parts)


def _shown(percent: float) -> str:
    return f"{percent:.1f} %"


def _chosen(found: list[Found]) -> list[Found]:
    """Queries evenly out of all, and among them some that went wrong.

    A report that hides them would teach nothing.
    """
    wrong = [each for each in found if each.answers and each.answers[0].label != each.label]
    right = [each for each in found if each not in wrong]
    some_wrong = _spread(wrong, 3)
    return _spread(right, ROWS - len(some_wrong)) + some_wrong


def _spread(items: list[Found], count: int) -> list[Found]:
    if len(items) <= count:
        return items
    return [items[i * len(items) // count] for i in range(count)]
