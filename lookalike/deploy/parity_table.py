"""What a model folder says of its runtimes, as a table that people read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def table(parity: Mapping[str, Any], precision: str) -> list[Sequence[str]]:
    """Head and rows of a table of what `Parity.to_json` gave, as text.

    precision: of the graph; what PyTorch loads stays in float32.
    """
    in_torch = "" if precision == "float32" else ", in float32"

    def share(value: float | None) -> str:
        return "–" if value is None else f"{100 * value:.1f} %"

    head = ("runtime", "1 - cosine, largest", "mean", "same neighbour", "recall@1 in the sample")
    own = ("PyTorch", "", "", "", share(parity["recall1"]))
    rows = [
        (
            each["runtime"] + (in_torch if each["runtime"].startswith("torch") else ""),
            f"{each['largest_angle']:.1e}",
            f"{each['mean_angle']:.1e}",
            share(each["same_neighbour"]),
            share(each["recall1"]),
        )
        for each in parity["runtimes"]
    ]
    return [head, own, *rows]
