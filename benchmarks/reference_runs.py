"""The recipes of the reference runs, trained here and laid beside what PaddleClas logged for the same files.

    python benchmarks/reference_runs.py --runs ../shared/reference_runs --data ../shared/data
        [--recipe omniglot] [--recipe emoji] [--epochs 4] [--seed 0] [-o key=value]

`--runs` holds `<recipe>.yaml` and `results.json`, `--data` the folders of pictures named like the recipes.
`--epochs` ends the run early; the schedule stays that of the whole recipe. Prints JSON: for each epoch our
mean of every loss, the reference's of each of its seeds, and the difference from the nearest of these. From
epoch 2 on CELoss should lie within 5 % and the metric loss within 0.2, about what the reference's own seeds
differ by.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from lookalike import load_recipe
from lookalike.training.assembly import prepare_process, run_folder
from lookalike.training.trainer import Trainer

CLASSIFICATION, METRIC = 0.05, 0.2
"""Allowed: of CELoss relative, of the metric loss absolute."""
FIRST_COMPARED = 2
"""Before it the curves are those of the random start."""


def paths(data: Path) -> list[str]:
    """The overrides of the six paths."""
    lists = {"Train": "train.txt", "Eval.Query": "query.txt", "Eval.Gallery": "gallery.txt"}
    found = []
    for block, name in lists.items():
        found.append(f"DataLoader.{block}.dataset.image_root={data}")
        found.append(f"DataLoader.{block}.dataset.cls_label_path={data / name}")
    return found


def trained(
    recipe_file: Path, overrides: list[str], epochs: int | None
) -> tuple[list[dict[str, Any]], float]:
    """The history of a run, an entry an epoch, and its images per second (evaluations included)."""
    recipe = load_recipe(str(recipe_file), overrides)
    device = prepare_process(recipe)
    folder = run_folder(recipe)
    folder.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(recipe, device, folder)
    if epochs is not None:
        trainer.epochs = min(
            epochs, trainer.epochs
        )  # the schedules are built for the recipe's own count already
    result = trainer.run()
    return trainer.progress.history, result.images_per_second


def compare(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One entry an epoch: losses here and there, the nearest difference, whether that is allowed."""
    rows = []
    for entry in ours:
        epoch = entry["epoch"]
        curves = {
            f"seed {run['seed']}": point
            for run in theirs
            for point in run["train_curve"]
            if point["epoch"] == epoch
        }
        row: dict[str, Any] = {"epoch": epoch, "losses": {}, "eval": entry.get("eval")}
        row["reference_eval"] = {
            f"seed {run['seed']}": point
            for run in theirs
            for point in run["eval_curve"]
            if point["epoch"] == epoch
        }
        for name, value in entry.items():
            if not name.endswith("Loss") and not name.endswith("LossV2"):
                continue
            there = {seed: point[name] for seed, point in curves.items() if name in point}
            figures: dict[str, Any] = {"ours": round(value, 5), "reference": there}
            if there:
                nearest = min(there.values(), key=lambda other: abs(other - value))
                figures["difference"] = round(value - nearest, 5)
                figures["relative"] = round((value - nearest) / nearest, 5)
                if epoch >= FIRST_COMPARED:
                    figures["within"] = (
                        abs(figures["relative"]) <= CLASSIFICATION
                        if name == "CELoss"
                        else abs(figures["difference"]) <= METRIC
                    )
            row["losses"][name] = figures
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=Path, default=Path("../shared/reference_runs"))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--recipe", action="append", choices=["omniglot", "emoji"])
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "-o", "--override", action="append", default=[], help="further overrides of the recipe"
    )
    options = parser.parse_args()
    results = json.loads((options.runs / "results.json").read_text(encoding="utf-8"))
    report: dict[str, Any] = {
        "benchmark": "reference_runs",
        "threads": torch.get_num_threads(),
        "seed": options.seed,
        "overrides": options.override,
        "recipes": {},
    }
    for name in options.recipe or ["omniglot", "emoji"]:
        data = (options.data / name).resolve()
        with tempfile.TemporaryDirectory(prefix="reference_runs_") as output:
            overrides = [*paths(data), f"Global.output_dir={output}", f"Global.seed={options.seed}"]
            wall, cpu = time.perf_counter(), time.process_time()
            history, speed = trained(
                options.runs / f"{name}.yaml", [*overrides, *options.override], options.epochs
            )
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        rows = compare(history, results[name]["runs"])
        verdicts = [f["within"] for row in rows for f in row["losses"].values() if "within" in f]
        report["recipes"][name] = {
            "epochs": rows,
            "within": all(verdicts) if verdicts else None,
            "images_per_second_with_evaluation": round(speed, 1),
            "reference_images_per_second": [run["ips_median"] for run in results[name]["runs"]],
            "wall_seconds": round(wall, 1),
            "cpu_seconds": round(cpu, 1),
        }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
