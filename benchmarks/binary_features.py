"""What a code of bits costs in recall and saves in memory, against the real-valued feature it is made of.

    python benchmarks/binary_features.py hash/omniglot_sign hash/emoji_sign --seeds 0 1 2

Trains each recipe once a seed, scores its weights as the recipe says (Global.feature_binarize) and
real-valued (cosine), exports both, and counts the bytes that a picture takes in the gallery. Prints one JSON
object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

REAL = ["Global.feature_binarize=null", "Global.feature_normalize=True"]
"""Overrides with which the weights of a hash recipe are scored and exported as real-valued features."""


def lookalike(verb: str, recipe: str, overrides: list[str]) -> dict[str, Any]:
    """What a verb prints with --json, run in a process of its own."""
    command = [sys.executable, "-m", "lookalike", verb, "-c", recipe, "--json"]
    for override in overrides:
        command += ["-o", override]
    finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(finished.stdout))


def bytes_per_picture(recipe: str, weights: str, folder: str, overrides: list[str]) -> int:
    """Bytes of one vector as the exported model gives it and the gallery stores it."""
    import numpy as np

    from lookalike import Embedder

    lookalike(
        "export", recipe, [f"Global.pretrained_model={weights}", f"save_inference_dir={folder}", *overrides]
    )
    model = Embedder(folder)
    height, width = model.preprocess.image_shape[1:] if model.preprocess.image_shape else (64, 64)
    return int(model.encode([np.full((height, width, 3), 200, np.uint8)]).nbytes)


def run(recipe: str, seed: int) -> dict[str, Any]:
    """Train once; score and measure the code and the real-valued feature of the same weights."""
    with tempfile.TemporaryDirectory() as folder:
        trained = lookalike("train", recipe, [f"seed={seed}", f"output_dir={folder}/run"])
        weights = str(Path(trained["folder"]) / "latest")
        row: dict[str, Any] = {"seed": seed, "training_seconds": round(trained["seconds"])}
        for kind, overrides in (("code", []), ("real", REAL)):
            scored = lookalike("eval", recipe, [f"Global.pretrained_model={weights}", *overrides])["metrics"]
            row |= {f"{kind}_{name}": scored[name] for name in ("recall1", "mAP")}
            row[f"{kind}_bytes"] = bytes_per_picture(recipe, weights, f"{folder}/{kind}", overrides)
        return row


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipes", nargs="*", default=["hash/omniglot_sign", "hash/emoji_sign"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    rows = []
    for recipe in arguments.recipes:
        runs = [run(recipe, seed) for seed in arguments.seeds]
        median = {key: statistics.median(each[key] for each in runs) for key in runs[0] if key != "seed"}
        ratio = median["real_bytes"] / median["code_bytes"]
        rows.append({"recipe": recipe, "bytes_ratio": ratio, "median": median, "runs": runs})
    print(json.dumps({"rows": rows}, indent=2))


if __name__ == "__main__":
    main()
