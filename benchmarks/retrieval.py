"""Time of mAP over a whole gallery: ours against AccuracyCalculator of pytorch-metric-learning, one process.

    python benchmarks/retrieval.py [--items 10000] [--dimensions 512] [--per-class 5] [--repeat 3]

Every item is a query against all others. Prints JSON with both medians in seconds and their ratio (above 1:
ours is faster). Threads are whatever OMP_NUM_THREADS says. Needs the extra `bench`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

from lookalike.retrieval import evaluate_retrieval


def embeddings(items: int, dimensions: int, per_class: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors around the centre of their class, spread so that mAP is neither 0 nor 1."""
    generator = np.random.default_rng(0)
    labels = np.arange(items) // per_class
    centres = generator.normal(size=(labels[-1] + 1, dimensions))
    features = centres[labels] + 2.5 * generator.normal(size=(items, dimensions))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    return features.astype(np.float32), labels


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--dimensions", type=int, default=512)
    parser.add_argument("--per-class", type=int, default=5)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    features, labels = embeddings(options.items, options.dimensions, options.per_class)
    tensors = torch.from_numpy(features), torch.from_numpy(labels)
    calculator = AccuracyCalculator(include=("mean_average_precision",), k=None, device=torch.device("cpu"))

    def ours() -> float:
        return evaluate_retrieval(features, labels, features, labels, metrics=["mAP"], exclude_self=True)[
            "mAP"
        ]

    def theirs() -> float:
        found = calculator.get_accuracy(*tensors, *tensors, ref_includes_query=True)
        return float(found["mean_average_precision"])

    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    figures: dict[str, float] = {}
    contenders: dict[str, Callable[[], float]] = {"ours": ours, "theirs": theirs}
    for _ in range(options.repeat):  # in turns, so that a busy moment of the machine hits both
        for name, run in contenders.items():
            start = time.perf_counter()
            figures[name] = run()
            seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    print(
        json.dumps(
            {
                "benchmark": "retrieval",
                "peer": "pytorch-metric-learning AccuracyCalculator",
                "items": options.items,
                "dimensions": options.dimensions,
                "per_class": options.per_class,
                "repeat": options.repeat,
                "threads": os.environ.get("OMP_NUM_THREADS", f"all of {os.cpu_count()}"),
                "median_seconds": medians,
                "ratio": medians["theirs"] / medians["ours"],
                "mAP": figures,
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
