"""What a recipe reaches: one run a seed, the median over seeds, wall-clock seconds of each whole command.

    python benchmarks/accuracy.py product/grocery_mobilenetv2 --seeds 0 1 2

Prints one JSON object. Figures are those that the run scores once, at its end.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any


def run(recipe: str, seed: int, overrides: list[str]) -> dict[str, Any]:
    """Train and score in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "lookalike", "train", "-c", recipe, "--json"]
        for override in [f"seed={seed}", f"output_dir={folder}", *overrides]:
            command += ["-o", override]
        started = time.perf_counter()
        finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        seconds = time.perf_counter() - started
    told = json.loads(finished.stdout)
    return {
        "seed": seed,
        "seconds": round(seconds, 1),
        "images_per_second": told["images_per_second"],
        **told["metrics"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "-o", dest="overrides", action="append", default=[], help="override, as of lookalike train"
    )
    arguments = parser.parse_args()
    runs = [run(arguments.recipe, seed, arguments.overrides) for seed in arguments.seeds]
    median = {key: statistics.median(each[key] for each in runs) for key in runs[0] if key != "seed"}
    print(json.dumps({"recipe": arguments.recipe, "median": median, "runs": runs}, indent=2))


if __name__ == "__main__":
    main()
