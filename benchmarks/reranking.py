"""k-reciprocal re-ranking: time, memory and gain, ours and the reference's algorithm.

    python benchmarks/reranking.py [--sizes 5000 20000] [--engines lookalike reference] [--json]
    python benchmarks/reranking.py --features vectors.npz [--json]      gain on real features

Sizes: so many images of 512-d, 5 a class, one of which is a query and four are in the gallery. Both engines
run in this process, ours first; `peak_mb` is the most memory of its own above what it had before, when it
held the features. The reference's algorithm is written anew after what it does: matrices of all queries and
gallery items by all, V in float16, a loop over items. Where that needs more than the memory that is free,
the row says so in `error`. `ratio` is the time of the reference over ours, `largest_difference` between the
distances of both. All with k1 20, k2 6, lambda 0.3, the values of its evaluator. Linux only (reads /proc).

--features FILE.npz with keys `vectors` and `labels`: each image is a query in all others; figures before and
after re-ranking, and of database augmentation (k 10, alpha 3) and of both.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from evaluation import DIMENSIONS, PER_CLASS, PeakMemory, fill

from lookalike.retrieval import (
    RerankedSimilarities,
    augment_database,
    evaluate_retrieval,
    rerank_distances,
)

K1, K2, LAMB = 20, 6, 0.3
METRICS = ("recall@1", "recall@5", "mAP")


def lookalike(query: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    return rerank_distances(query, gallery, True, K1, K2, LAMB)


def reference(query: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """Its steps in its types: dense matrices, whole rows partitioned, loops over items and members."""
    items = np.concatenate([query, gallery])
    count, queries = len(items), len(query)
    distances = 2 - 2 * (items @ items.T)
    distances = np.transpose(distances / distances.max(axis=0))
    order = np.argpartition(distances, range(1, K1 + 1))

    def mutual(item: int, k: int) -> np.ndarray:
        ahead = order[item, : k + 1]
        return ahead[np.nonzero(order[ahead, : k + 1] == item)[0]]

    weights = np.zeros((count, count), np.float16)
    for item in range(count):
        own = mutual(item, K1)
        members = [own]
        for other in own:
            theirs = mutual(other, round(K1 / 2))
            if len(np.intersect1d(own, theirs, assume_unique=True)) > 2 / 3 * len(theirs):
                members.append(theirs)
        chosen = np.unique(np.concatenate(members))
        near = np.exp(-distances[item, chosen])
        weights[item, chosen] = near / near.sum()
    averaged = np.zeros_like(weights)
    for item in range(count):
        averaged[item] = weights[order[item, :K2]].mean(axis=0)
    del weights

    holders = [np.nonzero(averaged[:, column])[0] for column in range(count)]
    jaccard = np.zeros((queries, count), np.float16)
    for item in range(queries):
        shared = np.zeros(count, np.float16)
        for column in np.nonzero(averaged[item])[0]:
            rows = holders[column]
            shared[rows] += np.minimum(averaged[item, column], averaged[rows, column])
        jaccard[item] = 1 - shared / (2 - shared)
    final: np.ndarray = (1 - LAMB) * jaccard + LAMB * distances[:queries]
    return final[:, queries:]


ENGINES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "lookalike": lookalike,
    "reference": reference,
}

_BYTES_A_PAIR = 16
"""Of the reference at its fullest: distances (4), their order (8) and V twice (2 each)."""


class Ready:
    """Distances that are there already, for the engine that ranks."""

    def __init__(self, distances: np.ndarray) -> None:
        self._distances = distances
        self.dtype = distances.dtype

    def of(self, part: slice) -> np.ndarray:
        return -self._distances[part]


def compare(images: int, names: list[str]) -> list[dict[str, Any]]:
    """A row for each engine."""
    features, labels = np.empty((images, DIMENSIONS), np.float32), np.arange(images) // PER_CLASS
    fill(features, labels)
    asked = np.arange(images) % PER_CLASS == 0
    query, gallery = features[asked], features[~asked]
    sets = (query, labels[asked], gallery, labels[~asked])
    before = dict(evaluate_retrieval(*sets, metrics=METRICS))
    rows: list[dict[str, Any]] = []
    found: dict[str, np.ndarray] = {}
    for name in names:
        row: dict[str, Any] = {"engine": name, "images": images, "queries": len(query)}
        rows.append(row)
        needed = _BYTES_A_PAIR * images**2
        if name == "reference" and needed > _free():
            row["error"] = (
                f"needs about {needed / 2**30:.1f} GB for its matrices of {images:,} x {images:,}, "
                f"{_free() / 2**30:.1f} GB are free"
            )
            continue
        with PeakMemory() as memory:
            start = time.perf_counter()
            found[name] = ENGINES[name](query, gallery)
            row["seconds"] = time.perf_counter() - start
        after = dict(evaluate_retrieval(*sets, metrics=METRICS, similarities=Ready(found[name])))
        row |= {"peak_mb": memory.megabytes, "before": before, "after": after}
        if name == "reference" and "lookalike" in found:
            row["largest_difference"] = float(np.abs(found["lookalike"] - found[name]).max())
            rows[0]["ratio"] = row["seconds"] / rows[0]["seconds"]
            rows[0]["ratio_of_memory"] = row["peak_mb"] / rows[0]["peak_mb"]
    return rows


def gain(file: str) -> dict[str, Any]:
    """What re-ranking and augmentation do for the features of a file."""
    with np.load(file) as stored:
        vectors, labels = stored["vectors"].astype(np.float32), stored["labels"]
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    row: dict[str, Any] = {"features": Path(file).name, "images": len(vectors), "classes": len(set(labels))}
    sets = {"before": vectors, "augmented": augment_database(vectors, 10, 3.0)}
    for name, features in sets.items():
        arguments = (features, labels, features, labels)
        row[name] = dict(evaluate_retrieval(*arguments, metrics=METRICS, exclude_self=True))
        start = time.perf_counter()
        reranked = RerankedSimilarities(features, k1=K1, k2=K2, lamb=LAMB)
        told = "after" if name == "before" else "augmented_and_reranked"
        row[told] = dict(
            evaluate_retrieval(*arguments, metrics=METRICS, exclude_self=True, similarities=reranked)
        )
        row.setdefault("seconds", time.perf_counter() - start)
    row["gain_mAP"] = row["after"]["mAP"] - row["before"]["mAP"]
    return row


def _free() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable"):
            return int(line.split()[1]) * 1024
    raise SystemExit("this benchmark reads MemAvailable of /proc/meminfo, which is not there")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[5_000, 20_000])
    parser.add_argument("--engines", nargs="+", choices=list(ENGINES), default=list(ENGINES))
    parser.add_argument("--features", nargs="+", help=".npz with vectors and labels; in place of sizes")
    parser.add_argument("--json", action="store_true", help="print nothing but one JSON object")
    options = parser.parse_args()
    rows = []
    compare(50, ["lookalike"])  # what is loaded once is not measured
    for case in options.features or options.sizes:
        for row in [gain(case)] if options.features else compare(case, options.engines):
            rows.append(row)
            if not options.json:
                print(json.dumps(row), file=sys.stderr, flush=True)
    threads = os.environ.get("OMP_NUM_THREADS", f"all of {os.cpu_count()}")
    print(json.dumps({"benchmark": "reranking", "threads": threads, "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
