"""The model card: what a person reads about a model folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lookalike.images import Preprocess

_INPUTS = {
    "float32_nchw": "float32 (N, {shape}), normalised",
    "uint8_nhwc": "uint8 (N, {height}, {width}, 3), RGB pixels, which the graph normalises",
}


def card(manifest: Mapping[str, Any], preprocess: Preprocess) -> str:
    """The text of `README.md`, from what `lookalike.json` says."""
    sections = [
        ["# Image embedding model", "", *_facts(manifest)],
        _figures(manifest["metrics"], manifest["metrics_data"]),
        _use(),
    ]
    return "\n\n".join("\n".join(lines) for lines in sections if lines) + "\n"


def _facts(manifest: Mapping[str, Any]) -> list[str]:
    size, binarize = manifest["size"], manifest["binarize"]
    kind = f"{size} bits ({binarize})" if binarize else f"{size} numbers"
    _, height, width = manifest["shape"]
    shape = ", ".join(map(str, manifest["shape"]))
    described = _INPUTS[manifest["input"]].format(shape=shape, height=height, width=width)
    facts = [
        f"- Input: {described}",
        f"- Output: `{manifest['output']}`, {kind}{', L2-normalised' if manifest['normalized'] else ''}",
        f"- Arithmetic: {manifest['precision']}",
        f"- Fingerprint: `{manifest['fingerprint']}`",
        f"- Licence: {manifest['license'] or 'not stated'}",
    ]
    return facts + [f"- {name}: {value}" for name, value in manifest["made_from"].items() if value]


def _figures(metrics: Mapping[str, float], data: Mapping[str, Any]) -> list[str]:
    if not metrics:
        return []
    taken = [f"Taken on {'; '.join(f'{name}: {value}' for name, value in data.items())}.", ""] if data else []
    rows = [f"| {name} | {value:.4f} |" for name, value in metrics.items()]
    return ["## Figures", "", *taken, "| figure | value |", "|---|---|", *rows]


def _use() -> list[str]:
    return [
        "## Use",
        "",
        "```python",
        "from lookalike import Embedder",
        "",
        'vectors = Embedder("this folder").encode(["a.jpg"])',
        "```",
    ]
