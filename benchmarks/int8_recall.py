"""What 8 bits cost in recall: models that recipes train, quantised after training, on classes they never saw.

    python benchmarks/int8_recall.py            # trains the three recipes first
    python benchmarks/int8_recall.py --weights product/grocery_mobilenetv2=output/grocery/RecModel/best_model

Exports the weights, calibrates on 256 training pictures, and scores query against gallery with both graphs in
one process. `ok` where recall@1 and mAP of the int8 graph are within one point of the float graph's or inside
their bootstrap intervals. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from binary_features import lookalike
from numpy.typing import NDArray

from lookalike import Embedder, load_recipe
from lookalike.deploy.quantisation import quantise_graph
from lookalike.deploy.quantisation.graph import WeightBits
from lookalike.deploy.runtimes.runtime import OnnxRuntime
from lookalike.evaluation.recipe_sets import evaluation_records
from lookalike.images import read_records
from lookalike.retrieval import Result, evaluate_retrieval

RECIPES = ["product/grocery_mobilenetv2", "hash/emoji_sign", "metric_learning/omniglot"]
CALIBRATION = 256
BATCH = 32
METRICS = ("recall@1", "mAP")


def training_pictures(recipe: Any, model: Embedder, count: int) -> NDArray[np.float32]:
    """Pictures of the training list, drawn by seed 0 and preprocessed as the model is scored."""
    block = recipe.data.Train["dataset"]
    known = ("name", "image_root", "cls_label_path", "delimiter", "relabel")
    records = read_records({key: value for key, value in block.items() if key in known})
    drawn = np.random.default_rng(0).permutation(len(records.paths))[:count]
    return np.stack([model.preprocess(records.paths[number]) for number in drawn])


def features(graph: Path, pictures: NDArray[np.float32], codes: bool) -> NDArray[np.float32]:
    run = OnnxRuntime(graph)
    found = np.concatenate([run(pictures[at : at + BATCH]) for at in range(0, len(pictures), BATCH)])
    return np.where(found > 0, np.float32(1), np.float32(-1)) if codes else found


def row_of(name: str, weights: str, folder: Path, weight_bits: WeightBits) -> dict[str, Any]:
    """Both graphs of one model, scored."""
    inference = folder / "inference"
    lookalike("export", name, [f"Global.pretrained_model={weights}", f"save_inference_dir={inference}"])
    model, recipe = Embedder(inference), load_recipe(name)
    query, gallery = evaluation_records(recipe)
    assert gallery is not None
    graphs = {"float": inference / "model.onnx", "int8": folder / "int8.onnx"}
    report = quantise_graph(
        graphs["float"],
        graphs["int8"],
        [training_pictures(recipe, model, CALIBRATION)],
        weight_bits=weight_bits,
    )
    pictures = {
        part: np.stack([model.preprocess(path) for path in records.paths])
        for part, records in (("query", query), ("gallery", gallery))
    }
    scored: dict[str, Result] = {}
    for kind, graph in graphs.items():
        vectors = {part: features(graph, each, model.binarize is not None) for part, each in pictures.items()}
        scored[kind] = evaluate_retrieval(
            vectors["query"], query.labels, vectors["gallery"], gallery.labels, metrics=METRICS
        )
    row: dict[str, Any] = {"recipe": name, "codes": model.binarize is not None, "ok": True}
    for metric in METRICS:
        before, after = scored["float"][metric], scored["int8"][metric]
        low, high = scored["float"].interval(metric)
        row[metric] = {
            "float": before,
            "int8": after,
            "points": 100 * (after - before),
            "interval": [low, high],
        }
        row["ok"] &= after >= min(before - 0.01, low)
    row |= {
        "weight_bits": weight_bits,
        "int8_layers": report.int8_layers,
        "kept_float": report.kept_float,
        "float_tail": report.float_tail,
        "mean_angle": report.mean_angle,
        "seconds": round(report.seconds, 1),
        "megabytes": {kind: round(graph.stat().st_size / 1e6, 2) for kind, graph in graphs.items()},
    }
    return row


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipes", nargs="*", default=RECIPES)
    parser.add_argument("--weights", action="append", default=[], metavar="RECIPE=FOLDER")
    parser.add_argument("--seed", type=int, default=0, help="of the trainings")
    parser.add_argument(
        "--weight-bits", type=int, choices=(7, 8), default=7, help="8 is only exact on processors with VNNI"
    )
    parser.add_argument("--json", action="store_true", help="as all benchmarks; JSON is printed anyway")
    arguments = parser.parse_args()
    given = dict(each.split("=", 1) for each in arguments.weights)
    rows = []
    for name in arguments.recipes:
        with tempfile.TemporaryDirectory() as folder:
            weights = given.get(name)
            if weights is None:
                run = lookalike("train", name, [f"seed={arguments.seed}", f"output_dir={folder}/run"])
                weights = str(Path(run["folder"]) / "latest")
            rows.append(row_of(name, weights, Path(folder), arguments.weight_bits))
    print(json.dumps({"ok": all(row["ok"] for row in rows), "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
