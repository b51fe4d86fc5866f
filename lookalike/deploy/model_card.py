"""The model card: what a person reads about a model folder, and the Hub's metadata before it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from lookalike.deploy.parity_table import table
from lookalike.deploy.plain_code import plain_code
from lookalike.images import Preprocess

_INPUTS = {
    "float32_nchw": "float32 (N, {shape}), preprocessed as `lookalike.json` says",
    "uint8_nhwc": "uint8 (N, {height}, {width}, 3), RGB pixels; the graph normalises them",
    "uint8_nhwc_any_size": "uint8 (N, height, width, 3), RGB pixels of any size; the graph makes {height} x "
    "{width} of them and normalises them",
}
_LICENCES = (
    "apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0",
    "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0", "gpl-3.0", "lgpl-3.0", "agpl-3.0", "mpl-2.0",
    "unlicense",
)  # fmt: skip
"""Licences that the Hub knows by these names; others are `other` with a name of their own."""


def card(manifest: Mapping[str, Any], preprocess: Preprocess) -> str:
    """The text of `README.md`, from what `lookalike.json` says."""
    sections = [
        _metadata(manifest["license"]),
        ["# Image embedding model"],
        _facts(manifest),
        _figures(manifest["metrics"], manifest["metrics_data"]),
        _runtimes(manifest["parity"], manifest["precision"]),
        *([f"## {title}", "", *lines] for title, lines in manifest["notes"].items()),
        _use(manifest, preprocess),
    ]
    return "\n\n".join("\n".join(lines) for lines in sections if lines) + "\n"


def _metadata(license: str | None) -> list[str]:
    """The YAML that the Hub reads; strings are written as JSON, which is YAML too."""
    named = []
    if license is not None:
        known = license.lower().replace(" ", "-")
        named = [f"license: {known}"] if known in _LICENCES else ["license: other"]
        named += [] if known in _LICENCES else [f"license_name: {json.dumps(license)}"]
    tags = [f"- {tag}" for tag in ("image-embeddings", "image-retrieval", "onnx")]
    about = ["library_name: lookalike", "pipeline_tag: image-feature-extraction"]
    return ["---", *about, *named, "tags:", *tags, "---"]


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
    made_from = manifest["made_from"].items()
    return facts + [f"- {name.replace('_', ' ')}: {value}" for name, value in made_from if value]


def _figures(metrics: Mapping[str, float], data: Mapping[str, Any]) -> list[str]:
    if not metrics:
        return []
    rows = [f"| {name} | {value:.4f} |" for name, value in metrics.items()]
    return ["## Figures", "", *_data(data), "| figure | value |", "|---|---|", *rows]


def _data(data: Mapping[str, Any]) -> list[str]:
    return [*(f"- {name}: {value}" for name, value in data.items()), ""] if data else []


def _runtimes(parity: Mapping[str, Any], precision: str) -> list[str]:
    """How far each runtime is from PyTorch."""
    if not parity:
        return []
    head, *rows = table(parity, precision)
    told = f"{parity['pictures']} pictures ({parity['data']}), each against the model in PyTorch:"
    return ["## Runtimes", "", told, "", _row(head), _row(["---"] * len(head)), *map(_row, rows)]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _use(manifest: Mapping[str, Any], preprocess: Preprocess) -> list[str]:
    lines = [
        "## Use",
        "",
        "```python",
        "from lookalike import Embedder",
        "",
        'vectors = Embedder("this folder").encode(["a.jpg"])',
        "```",
        "",
    ]
    code = plain_code(
        preprocess, input=manifest["input"], binarize=manifest["binarize"], graph=manifest["graph"]
    )
    if code is None:
        return [
            *lines,
            "What the preprocessing does takes more than a few lines without Lookalike.",
        ]
    told = "Without Lookalike, for 8-bit pictures without transparency (Embedder takes all others too):"
    return [*lines, told, "", "```python", *code, "```"]
