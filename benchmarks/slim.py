"""What pruning and 8 bits cost in recall and gain in time and size.

    python benchmarks/slim.py [--recipe metric_learning/omniglot] [--epochs 3] [--further 1] [--seed 0]
        [--ratio 0.3] [--threads 1] [--rounds 200] [-o key=value]

Trains a recipe for `--epochs`, then goes on from these weights for `--further` epochs four times: as it is
(`float`, so that all have seen the same number of pictures), with filters taken out (`pruned`), rounding to
8 bits (`int8`), and both. Each is exported, and its model folder scored with the recipe's query and gallery.
The graphs then run in turns, one picture and a batch of 32, and the medians of these times are printed as
JSON.

Few epochs show the differences, not what the recipe reaches.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from lookalike import Embedder, Recipe, export, load_recipe, train
from lookalike.deploy.runtimes.runtime import OnnxRuntime
from lookalike.retrieval import evaluate_retrieval
from lookalike.training.benchmark import build_benchmark

FURTHER_RATE = 0.1
"""Share of the recipe's learning rate with which trained weights go on."""


def variants(ratio: float) -> dict[str, dict[str, Any] | None]:
    """The sections Slim that are compared."""
    prune = {"prune": {"name": "fpgm", "pruned_ratio": ratio}}
    quant = {"quant": {"name": "pact"}}
    return {"float": None, "pruned": prune, "int8": quant, "pruned_int8": {**prune, **quant}}


def recipe_of(arguments: argparse.Namespace, output: Path, **settings: Any) -> Recipe:
    """The recipe of one run, not scored while it trains."""
    values = load_recipe(arguments.recipe, arguments.overrides).to_dict()
    values["Global"] |= {
        "output_dir": str(output),
        "seed": arguments.seed,
        "eval_during_train": False,
        "tensorboard": False,
        **settings,
    }
    return Recipe.from_dict(values)


def gone_on(recipe: Recipe, slim: dict[str, Any] | None) -> Recipe:
    """The recipe with a section Slim and a lower learning rate, without a warm-up."""
    values = recipe.to_dict()
    rate = values["Optimizer"]["lr"]
    rate["learning_rate"] *= FURTHER_RATE
    rate["warmup_epoch"] = 0
    if slim is not None:
        values["Slim"] = slim
    return Recipe.from_dict(values)


def scored(folder: str, recipe: Recipe) -> dict[str, float]:
    """Recall@1 and mAP of a model folder on the pictures that the recipe scores."""
    model, benchmark = Embedder(folder), build_benchmark(recipe, "Eval")
    assert benchmark is not None
    sides = [loader.dataset.records for loader in (benchmark.query, benchmark.gallery)]
    features = [model.encode(records.paths) for records in sides]
    query, gallery = (np.asarray(records.labels) for records in sides)
    return dict(evaluate_retrieval(features[0], query, features[1], gallery, metrics=["recall@1", "mAP"]))


def times(folders: dict[str, str], batch: int, arguments: argparse.Namespace) -> dict[str, float]:
    """Median milliseconds of a batch, the graphs running in turns."""
    graphs = {
        name: OnnxRuntime(Path(folder) / "model.onnx", arguments.threads) for name, folder in folders.items()
    }
    found: dict[str, list[float]] = {name: [] for name in graphs}
    first = next(iter(graphs.values()))
    shape = [int(side) for side in first.shape[1:]]
    pictures = np.random.default_rng(0).standard_normal((batch, *shape)).astype(np.float32)
    for number in range(10 + arguments.rounds):
        for name, run in graphs.items():
            started = time.perf_counter()
            run(pictures)
            if number >= 10:
                found[name].append(1000 * (time.perf_counter() - started))
    return {name: round(statistics.median(each), 3) for name, each in found.items()}


def compared(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Train, export, score and time all of them."""
    before = train(recipe_of(arguments, folder / "before", epochs=arguments.epochs))
    weights = f"{before.folder}/latest"
    rows: dict[str, dict[str, Any]] = {}
    folders: dict[str, str] = {}
    for name, slim in variants(arguments.ratio).items():
        further = recipe_of(arguments, folder / name, epochs=arguments.further, pretrained_model=weights)
        run = train(gone_on(further, slim))
        final = recipe_of(arguments, folder / name, pretrained_model=f"{run.folder}/latest")
        result = export(final, folder / f"{name}_inference")
        folders[name] = result.folder
        size = sum(file.stat().st_size for file in Path(result.folder).glob("model.onnx*"))
        rows[name] = {**scored(result.folder, final), "megabytes": round(size / 1e6, 3)}
        rows[name] |= {"seconds": round(run.seconds, 1), "from_pytorch": result.largest_difference}
    for batch in (1, 32):
        for name, value in times(folders, batch, arguments).items():
            rows[name][f"milliseconds_batch_{batch}"] = value
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipe", default="metric_learning/omniglot")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--further", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ratio", type=float, default=0.3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("-o", dest="overrides", action="append", default=[], help="override of the recipe")
    arguments = parser.parse_args()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        rows = compared(arguments, Path(folder))
    settings = {key: value for key, value in vars(arguments).items() if key != "overrides"}
    seconds = round(time.perf_counter() - started)
    print(json.dumps({**settings, "seconds": seconds, "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
