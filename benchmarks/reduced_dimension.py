"""What is left of recall with fewer numbers a picture: the first ones of a feature, and PCA, per dimension.

    python benchmarks/reduced_dimension.py metric_learning/omniglot metric_learning/omniglot_matryoshka --seeds 0 1 2
    python benchmarks/reduced_dimension.py product/grocery_mobilenetv2 --weights product/grocery_mobilenetv2=WEIGHTS

Trains each recipe once a seed (or takes the weights), exports it whole, and scores query against gallery of
DataLoader.Eval with features of each size, as `export --dim` would cut them: the first numbers, scaled to
length 1, and the directions in which features of training pictures vary most. Figures are medians over seeds.
Prints a table for each recipe, or one JSON object with `--json`.
"""  # noqa: E501

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from binary_features import lookalike

from lookalike import Embedder, Recipe, load_recipe
from lookalike.deploy.export.conversion import PER_NUMBER, trained_sizes
from lookalike.deploy.export.reduced import Reduction, sizes_to_tell
from lookalike.deploy.proof.samples import training_sample
from lookalike.evaluation.recipe_sets import evaluation_records
from lookalike.retrieval import evaluate_retrieval

METRICS = ("recall@1", "mAP")


def scored(
    recipe: Recipe, name: str, overrides: list[str], weights: str, folder: Path
) -> dict[int, dict[str, dict[str, float]]]:
    """Figures by size, by kind (`first`, `pca`), by metric."""
    of_export = [f"Global.pretrained_model={weights}", f"save_inference_dir={folder}"]
    lookalike("export", name, [*overrides, *of_export])
    model = Embedder(folder)
    query, gallery = evaluation_records(recipe)
    assert gallery is not None
    width = model.size
    training = model.encode(training_sample(recipe, PER_NUMBER * width, "directions are learned").paths)
    wholes = {
        "first": Reduction.prefix(width, normalise=True),
        "pca": Reduction.pca(training, normalise=True),
    }
    features = model.encode(query.paths), model.encode(gallery.paths)
    figures: dict[int, dict[str, dict[str, float]]] = {}
    for size in sizes_to_tell(width, width):
        figures[size] = {}
        for kind, whole in wholes.items():
            ours, theirs = (whole.to(size).apply(each) for each in features)
            found = evaluate_retrieval(ours, query.labels, theirs, gallery.labels, metrics=METRICS)
            figures[size][kind] = {metric: found[metric] for metric in METRICS}
    return figures


def run(name: str, overrides: list[str], seed: int) -> dict[int, dict[str, dict[str, float]]]:
    """Train once and score."""
    with tempfile.TemporaryDirectory() as folder:
        trained = lookalike("train", name, [*overrides, f"seed={seed}", f"output_dir={folder}/run"])
        weights = str(Path(trained["folder"]) / "latest")
        return scored(load_recipe(name, overrides), name, overrides, weights, Path(folder) / "inference")


def median(runs: list[dict[int, dict[str, dict[str, float]]]]) -> dict[int, dict[str, dict[str, float]]]:
    return {
        size: {
            kind: {metric: statistics.median(each[size][kind][metric] for each in runs) for metric in METRICS}
            for kind in kinds
        }
        for size, kinds in runs[0].items()
    }


def table(row: dict[str, Any]) -> str:
    """A table for the documents: percent, and bytes a picture in float32."""
    lines = [
        f"{row['recipe']}, {row['from']}; query {row['query']} against gallery {row['gallery']}; "
        f"trained sizes: {', '.join(map(str, row['trained_sizes'])) or 'none'}",
        "",
        "| numbers | bytes | first numbers: recall@1 | mAP | PCA: recall@1 | mAP |",
        "|---|---|---|---|---|---|",
    ]
    for size, kinds in row["figures"].items():
        cells = [f"{100 * kinds[kind][metric]:.1f}" for kind in ("first", "pca") for metric in METRICS]
        lines.append(f"| {size} | {4 * size} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipes", nargs="+")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the trainings")
    parser.add_argument(
        "--weights",
        action="append",
        default=[],
        metavar="RECIPE=FILE",
        help="trained weights in place of a training; may be repeated, for several seeds",
    )
    parser.add_argument(
        "-o", dest="overrides", action="append", default=[], help="override, as of lookalike train"
    )
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = []
    for name in arguments.recipes:
        recipe = load_recipe(name, arguments.overrides)
        given = [each.split("=", 1)[1] for each in arguments.weights if each.split("=", 1)[0] == name]
        if given:
            with tempfile.TemporaryDirectory() as folder:
                runs = [
                    scored(recipe, name, arguments.overrides, weights, Path(folder) / str(number))
                    for number, weights in enumerate(given)
                ]
        else:
            runs = [run(name, arguments.overrides, seed) for seed in arguments.seeds]
        query, gallery = evaluation_records(recipe)
        assert gallery is not None
        seeds = ", ".join(map(str, arguments.seeds))
        rows.append(
            {
                "recipe": name,
                "from": f"{len(given)} given weights" if given else f"median of seeds {seeds}",
                "query": f"{query.origin} ({len(query)})",
                "gallery": f"{gallery.origin} ({len(gallery)})",
                "trained_sizes": trained_sizes(recipe, "features"),
                "figures": median(runs),
                "runs": runs,
            }
        )
    if arguments.json:
        print(json.dumps({"rows": rows}, indent=2))
    else:
        print("\n\n".join(map(table, rows)))


if __name__ == "__main__":
    main()
