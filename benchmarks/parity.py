"""How far the features of each runtime are from those of PyTorch, for the networks of all recipes that ship.

    python benchmarks/parity.py [--recipes product/sop …] [--pictures 64] [--no-int8] [--json]

Recipes of one network, with one size of pictures, are one row; networks that a recipe prunes or trains to
round are what they are before that. Vision transformers are left out unless named: their exports are of
gigabytes.

The weights are random (from a seed): those of the reference are not ours to ship. The statistics of batch
norms are measured on drawn pictures, coloured noise of several sizes, so that every layer gives values of a
trained network's kind; others of the same kind are compared. Told of each network and runtime are the largest
and the mean 1 - cosine of a feature with PyTorch's, and the share of pictures whose nearest other picture is
the same; in JSON also the largest difference in shares of the largest value. int8 is calibrated on the
pictures that the statistics are of.

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
TRANSFORMERS = "CLIP_vit"
WEIGHTS = ("pretrained", "use_ssld")
"""Arguments of backbones that say where weights come from, and nothing of the network."""
WARM_UP = 32
BATCH = 16


def shipped_networks() -> list[list[str]]:
    """The names of all shipped recipes without a transformer, those of the same network together."""
    found: dict[str, list[str]] = {}
    for file in sorted(RECIPES.rglob("*.yaml")):
        recipe = load_recipe(file)
        if not backbone_of(recipe).startswith(TRANSFORMERS):
            found.setdefault(network_of(recipe), []).append(str(file.relative_to(RECIPES).with_suffix("")))
    return list(found.values())


def backbone_of(recipe: Recipe) -> str:
    return str(recipe.network["Backbone"]["name"])


def network_of(recipe: Recipe) -> str:
    """What makes the features of a recipe, and of which pictures."""
    network = recipe.network
    backbone = {key: value for key, value in network["Backbone"].items() if key not in WEIGHTS}
    cut = [network.get(key) for key in ("BackboneStopLayer", "Neck", "infer_output_key")]
    return json.dumps([backbone, *cut, shape_of(recipe)], sort_keys=True, default=str)


def shape_of(recipe: Recipe) -> tuple[int, ...]:
    return tuple(recipe_preprocess(recipe).image_shape or recipe.global_.image_shape)


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
    if recipe.network.get("infer_output_key", "features") != "logits":
        model.head = None  # some ask for labels
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


def prepared(recipe: Recipe, count: int, seed: int) -> np.ndarray:
    """Drawn pictures as the network takes them; a preprocessing that does not resize gets the right size."""
    preprocess, (_, height, width) = recipe_preprocess(recipe), shape_of(recipe)
    pictures = drawn_pictures(count, seed)
    if preprocess.image_shape is None:
        pictures = [cv2.resize(each, (width, height), interpolation=cv2.INTER_AREA) for each in pictures]
    return np.stack([preprocess(each) for each in pictures]).astype(np.float32)


def parity(names: list[str], count: int, int8: bool) -> dict[str, Any]:
    recipe = load_recipe(names[0])
    warm, sample = prepared(recipe, WARM_UP, 1), prepared(recipe, count, 2)
    runtimes = [each for each in ("onnx", "openvino") if each == "onnx" or importlib.util.find_spec(each)]
    told: dict[str, Any] = {"recipes": names, "backbone": backbone_of(recipe)}
    with tempfile.TemporaryDirectory() as place:
        export_model(recipe, seeded_module(recipe, warm), Path(place) / "model", None)
        folder = ModelFolder.open(Path(place) / "model")
        expected = encoded(folder, "torch", sample)
        for backend in runtimes:
            told[backend] = compared(expected, encoded(folder, backend, sample))
        if int8:
            batches = [warm[at : at + BATCH] for at in range(0, len(warm), BATCH)]
            quantised = int8_folder(folder, Path(place) / "int8", batches)
            for backend in runtimes:
                told[f"{backend}_int8"] = compared(expected, encoded(quantised, backend, sample))
    return told


COLUMNS = {
    "onnx": "onnx",
    "openvino": "openvino",
    "onnx_int8": "int8 in onnx",
    "openvino_int8": "int8 in openvino",
}
HEADER = f"| recipes | backbone | {' | '.join(COLUMNS.values())} |\n|{'---|' * (2 + len(COLUMNS))}"


def markdown(row: dict[str, Any]) -> str:
    cells = [", ".join(f"`{name}`" for name in row["recipes"]), row["backbone"]]
    for runtime in COLUMNS:
        figures = row.get(runtime)
        cells.append(
            f"{figures['max']:.1e}, {figures['mean']:.1e}, {100 * figures['nearest_neighbours']:.0f} %"
            if figures
            else ""
        )
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipes", nargs="+", help="names; by default all")
    parser.add_argument("--pictures", type=int, default=64)
    parser.add_argument("--no-int8", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if not arguments.json:
        print(HEADER)
    rows = []
    for names in [[name] for name in arguments.recipes or []] or shipped_networks():
        try:
            rows.append(parity(names, arguments.pictures, not arguments.no_int8))
        except LookalikeError as error:
            print(f"{names[0]}: {error}", file=sys.stderr)
            continue
        if not arguments.json:
            print(markdown(rows[-1]), flush=True)
    if arguments.json:
        print(json.dumps(rows))


if __name__ == "__main__":
    main()
