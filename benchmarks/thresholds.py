"""Whether a threshold keeps on other classes what it promises: found on half of them, tried on the rest.

    lookalike embed inference --list all.txt --root pictures --out all.npz
    python benchmarks/thresholds.py all.npz --rates 0.01 0.05

Prints one JSON object: for each wanted rate of false accepts, means over random halves. The classes must be
ones that the model was not trained on. `inside`: how often the rate on the other half lies in the interval
that was told for it.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np

from lookalike.deploy.calibration import calibrate
from lookalike.images.feature_files import read_features
from lookalike.images.feature_table import FeatureTable


def part(table: FeatureTable, classes: Any) -> FeatureTable:
    """The pictures of some classes."""
    assert table.labels is not None
    kept = np.flatnonzero(np.isin(table.labels, classes))
    paths = None if table.paths is None else [table.paths[row] for row in kept]
    return FeatureTable(table.vectors[kept], paths, table.labels[kept], bits=table.bits)


def scores(table: FeatureTable) -> tuple[Any, Any]:
    """By the definition, in one matrix: the best similarity within the class of each picture, and outside."""
    assert table.labels is not None
    vectors = table.codes().astype(np.float32) * 2 - 1 if table.bits else table.vectors
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    similarity = vectors @ vectors.T
    if table.bits:  # the cosine of codes of -1 and 1 is 2 * (share of equal bits) - 1
        similarity = (similarity + 1) / 2
    np.fill_diagonal(similarity, -np.inf)
    same = table.labels[:, None] == table.labels[None, :]
    return np.where(same, similarity, -np.inf).max(axis=1), np.where(same, -np.inf, similarity).max(axis=1)


def trial(table: FeatureTable, rate: float, seed: int) -> dict[str, float]:
    """One split of the classes."""
    assert table.labels is not None
    classes = np.random.default_rng(seed).permutation(np.unique(table.labels))
    mine, others = (part(table, half) for half in (classes[::2], classes[1::2]))
    found = calibrate("any", mine, false_accept_rate=rate, unsure_rate=rate, resamples=300).same
    right, wrong = scores(others)
    known = ~np.isneginf(right)
    accepted = float((wrong >= found.threshold).mean())
    low, high = found.false_accept_interval or (0.0, 1.0)
    return {
        "threshold": found.threshold,
        "false_accepts_here": found.false_accept_rate,
        "false_accepts_expected": found.expected_false_accept_rate or 0.0,
        "false_accepts_elsewhere": accepted,
        "inside": float(low <= accepted <= high),
        "identified_here": found.identification_rate,
        "identified_elsewhere": float(((right >= found.threshold) & (right > wrong))[known].mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("features", help=".npz or .parquet with vectors, labels")
    parser.add_argument("--rates", type=float, nargs="+", default=[0.01, 0.05])
    parser.add_argument("--splits", type=int, default=100)
    arguments = parser.parse_args()
    table = read_features(arguments.features)
    assert table.labels is not None
    rows = []
    for rate in arguments.rates:
        trials = [trial(table, rate, seed) for seed in range(arguments.splits)]
        means = {key: round(float(np.mean([each[key] for each in trials])), 4) for key in trials[0]}
        rows.append({"wanted": rate, **means})
    told = {"pictures": len(table), "classes": len(np.unique(table.labels)), "splits": arguments.splits}
    print(json.dumps({**told, "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
