"""How far the features of each runtime are from those of PyTorch, for the mobile and ResNet recipes that
ship.

    python benchmarks/parity.py [--recipes product/sop …] [--pictures 64] [--no-int8] [--json]

The weights are random (from a seed): those of the reference are not ours to ship. The statistics of batch
norms are measured on drawn pictures, coloured noise of several sizes, so that every layer gives values of a
trained network's kind; others of the same kind are compared. Told of each recipe and runtime are the largest
and the mean 1 - cosine of a feature with PyTorch's, the largest difference in shares of the largest value,
and the share of pictures whose nearest other picture is the same. int8 is calibrated on the pictures that the
statistics are of.

A network with random weights tells pictures apart worse than a trained one, so that its nearest pictures are
closer to each other and change sooner: what training leaves of int8 is in the documents of each recipe's
export.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from lookalike import ModelFolder, Recipe, load_recipe
from lookalike.core.errors import LookalikeError
from lookalike.deploy.export import export_model
from lookalike.deploy.preprocessing import recipe_preprocess
from lookalike.deploy.runtimes.runtime import open_runtime
from lookalike.model import build_rec_model

RECIPES = Path(__file__).resolve().parent.parent / "recipes"
FAMILIES = ("pplcnet", "mobilenet", "resnet")
WARM_UP = 32
BATCH = 16


def mobile_and_resnet() -> list[str]:
    """Names of the shipped recipes with such a backbone; of several with the same network, all."""
    names = []
    for file in sorted(RECIPES.rglob("*.yaml")):
        recipe = load_recipe(file)
        backbone = str((recipe.network.get("Backbone") or {}).get("name", ""))
        if backbone.lower().removeprefix("timm/").startswith(FAMILIES):
            names.append(str(file.relative_to(RECIPES).with_suffix("")))
    return names


def drawn_pictures(count: int, seed: int) -> list[np.ndarray]:
    """RGB pictures of coloured noise: coarse and fine, dark and light."""
    generator = np.random.default_rng(seed)
    pictures = []
    for _ in range(count):
        side = int(generator.integers(2, 40))
        noise = generator.integers(0, 256, (side, side, 3)).astype(np.uint8)
        large = cv2.resize(noise, (256, 256), interpolation=cv2.INTER_CUBIC).astype(np.float32)
        shaded = large * generator.uniform(0.3, 1.0, 3) + generator.uniform(-60, 60)
        pictures.append(np.clip(shaded, 0, 255).astype(np.uint8))
    return pictures


def seeded_module(recipe: Recipe, pictures: np.ndarray) -> Any:
    """The model of a recipe with random weights and batch norms that know these pictures."""
    torch.manual_seed(0)
    model = build_rec_model(recipe.network, recipe.global_.reference_behaviour, pretrained=False).train()
    model.head = None
    with torch.no_grad():
        for start in range(0, len(pictures), BATCH):
            model(torch.from_numpy(pictures[start : start + BATCH]))
    return model.eval()


def compared(expected: np.ndarray, found: np.ndarray) -> dict[str, float]:
    """How far features are from those that are expected."""
    cosines = (unit(expected) * unit(found)).sum(axis=1)
    return {
        "max": float((1 - cosines).max()),
        "mean": float((1 - cosines).mean()),
        "largest_difference": float(np.abs(found - expected).max() / np.abs(expected).max()),
        "nearest_neighbours": float((nearest(expected) == nearest(found)).mean()),
    }


def unit(features: np.ndarray) -> np.ndarray:
    features = features.astype(np.float64)
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def nearest(features: np.ndarray) -> np.ndarray:
    cosines = unit(features) @ unit(features).T
    np.fill_diagonal(cosines, -2)
    return cosines.argmax(axis=1)


def encoded(folder: ModelFolder, backend: str, pictures: np.ndarray) -> np.ndarray:
    run = open_runtime(folder, backend)
    return np.concatenate([run(pictures[at : at + BATCH]) for at in range(0, len(pictures), BATCH)])


def int8_folder(folder: ModelFolder, at: Path, batches: list[np.ndarray]) -> ModelFolder:
    """The same folder with its graph in 8 bits, calibrated on these batches."""
    from lookalike.deploy.quantisation import quantise_graph

    at.mkdir()
    for file in folder.path.iterdir():
        if file.name != folder.graph:
            (at / file.name).write_bytes(file.read_bytes())
    quantise_graph(folder.graph_file, at / folder.graph, batches, tolerance=2.0)
    return ModelFolder.open(at)


def parity(name: str, count: int, int8: bool) -> dict[str, Any]:
    recipe = load_recipe(name)
    preprocess = recipe_preprocess(recipe)
    warm, sample = (
        np.stack([preprocess(picture) for picture in drawn_pictures(size, seed)]).astype(np.float32)
        for size, seed in ((WARM_UP, 1), (count, 2))
    )
    told: dict[str, Any] = {"recipe": name, "backbone": recipe.network["Backbone"]["name"]}
    with tempfile.TemporaryDirectory() as place:
        export_model(recipe, seeded_module(recipe, warm), Path(place) / "model", None)
        folder = ModelFolder.open(Path(place) / "model")
        expected = encoded(folder, "torch", sample)
        for backend in ("onnx", "openvino"):
            if backend == "onnx" or importlib.util.find_spec(backend):
                told[backend] = compared(expected, encoded(folder, backend, sample))
        if int8:
            batches = [warm[at : at + BATCH] for at in range(0, len(warm), BATCH)]
            quantised = int8_folder(folder, Path(place) / "int8", batches)
            told["int8"] = compared(expected, encoded(quantised, "onnx", sample))
    return told


HEADER = """\
| recipe | backbone | runtime | 1 - cosine, largest | mean | nearest picture the same |
|---|---|---|---|---|---|"""


def markdown(row: dict[str, Any]) -> str:
    lines = []
    for runtime in ("onnx", "openvino", "int8"):
        if figures := row.get(runtime):
            lines.append(
                f"| `{row['recipe']}` | {row['backbone']} | {runtime} | {figures['max']:.1e} | "
                f"{figures['mean']:.1e} | {100 * figures['nearest_neighbours']:.0f} % |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipes", nargs="+", help="names; by default all with such a backbone")
    parser.add_argument("--pictures", type=int, default=64)
    parser.add_argument("--no-int8", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if not arguments.json:
        print(HEADER)
    rows = []
    for name in arguments.recipes or mobile_and_resnet():
        try:
            rows.append(parity(name, arguments.pictures, not arguments.no_int8))
        except LookalikeError as error:
            print(f"{name}: {error}", file=sys.stderr)
            continue
        if not arguments.json:
            print(markdown(rows[-1]), flush=True)
    if arguments.json:
        print(json.dumps(rows))


if __name__ == "__main__":
    main()
