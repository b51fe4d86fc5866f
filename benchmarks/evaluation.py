"""Time and memory of retrieval evaluation: ours, the bare matrix product, the reference's algorithm, peers.

    python benchmarks/evaluation.py [--sizes 10000 60000 200000] [--engines lookalike matmul …] [--json]
    python benchmarks/evaluation.py --gallery 1000000 --queries 10000    features on the disk, mapped

Every image is a query against all others (512-d, 5 images a class; of 60,000 also 30 classes). Each engine
runs in a process of its own, right after the bare product of the same features, done in blocks of 1,024
queries; `ratio_to_matmul` is the quotient of the two medians. `peak_mb` is the most memory that the process
had of its own above that before it began, when it held the features; pages of a mapped file are the
system's and do not count. Engines:

    lookalike               all ranking metrics at once
    matmul                  the bare product
    reference               its algorithm, written anew: blocks of 64 queries, each sorted once a metric
                            (recall@1 and 5, mAP, mINP); from --reference-blocks blocks, extrapolated
    pytorch-metric-learning AccuracyCalculator: its five ranking metrics over the whole gallery
    torchmetrics            RetrievalMAP over flat pairs

A peer that fails or takes longer than --limit seconds has the reason in `error` instead of figures. Peers
need the extra `bench`. Threads are whatever OMP_NUM_THREADS says. Linux only (it reads /proc).
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

DIMENSIONS = 512
PER_CLASS = 5
BLOCK = 1024

Run = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], dict[str, float]]
"""(query, its labels, gallery, its labels) -> figures; query and gallery may be the same object."""


def fill(features: np.ndarray, labels: np.ndarray, spread: float = 2.5) -> None:
    """Unit vectors around the centre of their class, spread so that mAP is neither 0 nor 1."""
    for start in range(0, len(features), 10_000):
        part = slice(start, start + 10_000)
        generator = np.random.default_rng([1, start])
        centres = np.random.default_rng(0).normal(size=(int(labels.max()) + 1, DIMENSIONS)).astype(np.float32)
        rows = centres[labels[part]] + spread * generator.normal(size=features[part].shape).astype(np.float32)
        features[part] = rows / np.linalg.norm(rows, axis=1, keepdims=True)


class PeakMemory:
    """Most memory (MB) of this process above what it had at the start; mapped files do not count."""

    def __enter__(self) -> PeakMemory:
        ctypes.CDLL(None).malloc_trim(0)  # what was freed and kept must not be used again unseen
        self._before = self.highest = _own_memory()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.01):
            self.highest = max(self.highest, _own_memory())

    @property
    def megabytes(self) -> float:
        return (self.highest - self._before) / 2**20


def _own_memory() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    raise SystemExit("this benchmark reads RssAnon of /proc/self/status, which is not there")


def matmul(query: np.ndarray, _q: np.ndarray, gallery: np.ndarray, _g: np.ndarray) -> dict[str, float]:
    block = np.empty((min(BLOCK, len(query)), len(gallery)), np.float32)
    for start in range(0, len(query), len(block)):
        rows = query[start : start + len(block)]
        np.matmul(rows, gallery.T, out=block[: len(rows)])
    return {}


def lookalike(
    query: np.ndarray, query_labels: np.ndarray, gallery: np.ndarray, gallery_labels: np.ndarray
) -> dict[str, float]:
    from lookalike.retrieval import METRICS, evaluate_retrieval

    names = [f"{name}{k}" for name in METRICS if name.endswith("@") for k in (1, 5, 10)]
    names += [name for name in METRICS if not name.endswith("@")]
    itself = query is gallery or np.full(len(query), -1)
    return dict(
        evaluate_retrieval(query, query_labels, gallery, gallery_labels, metrics=names, exclude_self=itself)
    )


def reference(blocks: int) -> Run:
    """Its algorithm on the first blocks of 64 queries; the time of one block is that of all."""

    def run(
        query: np.ndarray, query_labels: np.ndarray, gallery: np.ndarray, gallery_labels: np.ndarray
    ) -> dict[str, float]:
        sums = np.zeros(4)
        count = min(blocks, -(-len(query) // 64))
        for number in range(count):
            part = slice(64 * number, 64 * (number + 1))
            similarities = query[part] @ gallery.T
            same = query_labels[part, None] == gallery_labels[None, :]
            if query is gallery:
                itself = np.arange(len(query))[part, None] == np.arange(len(gallery))[None, :]
                similarities, same = similarities * ~itself, same & ~itself
            for place, metric in enumerate((_recall(1), _recall(5), _average_precision, _penalty)):
                order = np.argsort(-similarities, axis=1, kind="stable")  # once a metric, as there
                sums[place] += metric(np.take_along_axis(same, order, axis=1)).mean() / count
        return dict(zip(("recall@1", "recall@5", "mAP", "mINP"), sums.tolist(), strict=True))

    return run


def _recall(k: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda hits: hits[:, :k].any(axis=1)


def _average_precision(hits: np.ndarray) -> np.ndarray:
    precision = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
    return (precision * hits).sum(axis=1) / hits.sum(axis=1)


def _penalty(hits: np.ndarray) -> np.ndarray:
    last = hits.shape[1] - np.argmax(hits[:, ::-1], axis=1)
    return hits.sum(axis=1) / last


def metric_learning(
    query: np.ndarray, query_labels: np.ndarray, gallery: np.ndarray, gallery_labels: np.ndarray
) -> dict[str, float]:
    import torch
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

    names = ["mean_average_precision", "mean_average_precision_at_r", "mean_reciprocal_rank"]
    names += ["precision_at_1", "r_precision"]
    calculator = AccuracyCalculator(include=names, k=None, device=torch.device("cpu"))
    arrays = [torch.from_numpy(each) for each in (query, query_labels, gallery, gallery_labels)]
    found = calculator.get_accuracy(*arrays, ref_includes_query=query is gallery)
    return {name: float(found[name]) for name in names}


def torchmetrics(
    query: np.ndarray, query_labels: np.ndarray, gallery: np.ndarray, gallery_labels: np.ndarray
) -> dict[str, float]:
    import torch
    from torchmetrics.retrieval import RetrievalMAP

    similarities = torch.from_numpy(query @ gallery.T)
    same = torch.from_numpy(query_labels[:, None] == gallery_labels[None, :])
    queries = torch.arange(len(query))[:, None].expand_as(same)
    others = queries != torch.arange(len(gallery))[None, :] if query is gallery else torch.ones_like(same)
    metric = RetrievalMAP()
    metric.update(similarities[others], same[others], indexes=queries[others])
    return {"mAP": float(metric.compute())}


def engines(options: argparse.Namespace) -> dict[str, Run]:
    return {
        "lookalike": lookalike,
        "matmul": matmul,
        "reference": reference(options.reference_blocks),
        "pytorch-metric-learning": metric_learning,
        "torchmetrics": torchmetrics,
    }


def measure(engine: str, options: argparse.Namespace) -> dict[str, Any]:
    """Time and memory of one engine in this process, in turns with the bare product."""
    run = engines(options)[engine]
    if options.gallery:
        gallery = np.load(options.features, mmap_mode="r")
        gallery_labels = np.arange(len(gallery)) // PER_CLASS
        query, query_labels = np.array(gallery[: options.queries]), gallery_labels[: options.queries]
    else:
        gallery = query = np.empty((options.images, DIMENSIONS), np.float32)
        query_labels = gallery_labels = np.random.default_rng(1).permutation(options.images) % options.classes
        fill(gallery, gallery_labels)
    sets = (query, query_labels, gallery, gallery_labels)
    tiny = np.eye(8, DIMENSIONS, dtype=np.float32), np.zeros(8, np.int64)
    if engine not in ("pytorch-metric-learning", "torchmetrics"):
        run(*tiny, *tiny)  # what is loaded once is not measured
    bare, ours, peak = [], [], 0.0
    figures: dict[str, float] = {}
    for _ in range(options.repeat):
        start = time.perf_counter()
        matmul(*sets)
        bare.append(time.perf_counter() - start)
        with PeakMemory() as memory:
            start = time.perf_counter()
            figures = run(*sets)
            ours.append(time.perf_counter() - start)
        peak = max(peak, memory.megabytes)
    seconds = statistics.median(ours)
    row: dict[str, Any] = {"engine": engine}
    if engine == "reference":
        blocks = -(-len(query) // 64)
        row["extrapolated_from_blocks"] = min(blocks, options.reference_blocks)
        seconds *= blocks / row["extrapolated_from_blocks"]
    row |= {"images": len(gallery), "queries": len(query), "classes": int(gallery_labels.max()) + 1}
    row |= {"seconds": seconds, "matmul_seconds": statistics.median(bare)}
    row |= {"ratio_to_matmul": seconds / statistics.median(bare), "peak_mb": peak, "figures": figures}
    return row


def measured_apart(engine: str, arguments: list[str], limit: float) -> dict[str, Any]:
    """The row of an engine from a process of its own, or why there is none."""
    command = [sys.executable, __file__, "--one", engine, *arguments]
    try:
        finished = subprocess.run(command, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return {"engine": engine, "error": f"not done in {limit:.0f} s"}
    if finished.returncode:
        told = finished.stderr.strip().splitlines()
        reason = told[-1] if told else f"killed by signal {-finished.returncode}: out of memory?"
        return {"engine": engine, "error": reason[:300]}
    return dict(json.loads(finished.stdout))


def cases(options: argparse.Namespace, folder: Path) -> list[tuple[dict[str, int], list[str]]]:
    """What is measured: how a row is named, and the arguments that a process gets for it."""
    shared = ["--repeat", str(options.repeat), "--reference-blocks", str(options.reference_blocks)]
    if options.gallery:
        file = folder / "features.npy"
        shape = (options.gallery, DIMENSIONS)
        features = np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=shape)
        fill(features, np.arange(options.gallery) // PER_CLASS)
        features.flush()
        sizes = ["--gallery", str(options.gallery), "--queries", str(options.queries)]
        row = {"images": options.gallery, "queries": options.queries}
        return [(row, [*sizes, "--features", str(file), *shared])]
    found = []
    for images in options.sizes:
        for classes in [images // PER_CLASS, *([30] if images == 60_000 else [])]:
            arguments = ["--images", str(images), "--classes", str(classes), *shared]
            found.append(({"images": images, "classes": classes}, arguments))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 60_000, 200_000])
    parser.add_argument("--engines", nargs="+", help="default: all")
    parser.add_argument("--gallery", type=int, help="a gallery of so many features on the disk")
    parser.add_argument("--queries", type=int, default=10_000, help="with --gallery")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--reference-blocks", type=int, default=10)
    parser.add_argument("--limit", type=float, default=1800, help="seconds that an engine may take")
    parser.add_argument("--json", action="store_true", help="print nothing but one JSON object")
    for hidden in ("--one", "--features"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    for hidden in ("--images", "--classes"):
        parser.add_argument(hidden, type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options)))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for named, arguments in cases(options, Path(folder)):
            for engine in options.engines or engines(options):
                row = {**named, **measured_apart(engine, arguments, options.limit)}
                rows.append(row)
                if not options.json:
                    told = row.get("error") or (
                        f"{row['seconds']:9.1f} s   {row['ratio_to_matmul']:6.2f} x the bare product   "
                        f"{row['peak_mb']:7.0f} MB"
                    )
                    print(f"{json.dumps(named)}  {engine:24} {told}", file=sys.stderr, flush=True)
    threads = os.environ.get("OMP_NUM_THREADS", f"all of {os.cpu_count()}")
    print(json.dumps({"benchmark": "evaluation", "threads": threads, "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
