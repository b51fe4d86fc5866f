"""Milliseconds from a JPEG file to its vector: `Embedder.encode`, and the straightforward way.

    python benchmarks/jpeg_to_vector.py [--threads 2] [--rounds 5] [--data ../shared/data/grocery] [--json]

straightforward is what people write: OpenCV reads the file and resizes, NumPy normalises, onnxruntime
computes, one picture after another. Both use the same graph and as many threads for it. They take turns,
round after round; a figure is the median of the rounds.

The models are PPLCNetV2_base_ShiTu and MobileNetV2 with a BNNeck at 224x224, of random weights from a seed.
The pictures are made of photographs of the data set: of 350 px from four of them, of 12 megapixels
(4000x3000) from 192, enlarged a little, with the noise of a sensor so that the files are as large as those of
a camera.

`scaled` is the same with `DecodeImage: {scaled: true}`. `shares` is what the stages of one picture take
alone, in milliseconds. To be reached: 12 megapixels 0.6, 350 px 0.95 of the straightforward way.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import torch

from lookalike import Embedder, load_recipe
from lookalike.deploy.export import export_model
from lookalike.deploy.pipeline import default_workers
from lookalike.images import Preprocess
from lookalike.model import build_model

RECIPE = Path(__file__).resolve().parent.parent / "recipes" / "general" / "pp_shitu_v2.yaml"
MODELS = {
    "PPLCNetV2": [],
    "MobileNetV2": [
        "Arch.Backbone={name: timm/mobilenetv2_100, pretrained: False}",
        "Arch.Neck.num_features=1280",
        "Arch.Head.embedding_size=1280",
    ],
}
SIDE = 224
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
LIMITS = {"12 MP": 0.6, "350 px": 0.95}
BATCH = 32
REPEATS = 15
"""How often a stage is timed alone."""


def export_random(folder: Path, overrides: list[str]) -> Path:
    """The folder of a model with random weights, whose batch norms have seen noise."""
    fixed = ["Arch.Backbone.pretrained=False", "Arch.Head.class_num=10"]
    recipe = load_recipe(RECIPE, overrides=[*fixed, *overrides])
    torch.manual_seed(0)
    model = build_model(recipe.arch).train()
    with torch.no_grad():
        for _ in range(3):
            model.embed(torch.randn(8, 3, SIDE, SIDE), "features")
    export_model(recipe, model.eval(), folder, None)
    return folder


def mosaic(photographs: list[Path], columns: int, rows: int, side: int, first: int) -> np.ndarray:
    """Photographs beside each other, (rows · side, columns · side, 3) BGR."""
    picture = np.empty((rows * side, columns * side, 3), np.uint8)
    for place in range(rows * columns):
        photograph = cv2.imread(str(photographs[(first + 37 * place) % len(photographs)]))
        top, left = place // columns * side, place % columns * side
        resized = cv2.resize(photograph, (side, side), interpolation=cv2.INTER_AREA)
        picture[top : top + side, left : left + side] = resized
    return picture


def draw(folder: Path, data: Path, counts: dict[str, int]) -> dict[str, list[str]]:
    """Files of both sizes."""
    photographs = sorted(data.rglob("*.jpg"))
    if len(photographs) < 192:
        raise SystemExit(f"{data} has no photographs: name a folder of JPEG files by --data")
    rng = np.random.default_rng(0)
    files: dict[str, list[str]] = {}
    for kind, (columns, rows, side, noise) in {"12 MP": (16, 12, 250, 3), "350 px": (2, 2, 175, 0)}.items():
        files[kind] = []
        for number in range(counts[kind]):
            picture = mosaic(photographs, columns, rows, side, first=101 * number)
            if noise:
                grain = rng.normal(0, noise, (1000, 1000, 3)).astype(np.int16)
                grain = np.tile(grain, (3, 4, 1))
                picture = np.clip(picture + grain, 0, 255).astype(np.uint8)
            files[kind].append(str(folder / f"{kind} {number}.jpg"))
            cv2.imwrite(files[kind][-1], picture, [cv2.IMWRITE_JPEG_QUALITY, 90])
    return files


class Straightforward:
    """Reading, preprocessing and embedding one picture after another."""

    def __init__(self, graph: Path, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name

    def __call__(self, files: list[str]) -> np.ndarray:
        return np.concatenate([self.model(self.normalise(self.resize(cv2.imread(file)))) for file in files])

    def resize(self, image: np.ndarray) -> np.ndarray:
        return cv2.resize(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), (SIDE, SIDE))

    def normalise(self, image: np.ndarray) -> np.ndarray:
        values = (image / 255.0 - MEAN) / STD
        return values.astype(np.float32).transpose(2, 0, 1)[None]

    def model(self, batch: np.ndarray) -> np.ndarray:
        return self.session.run(None, {self.input: batch})[0]


def scaled(model: Embedder) -> Embedder:
    """The same model, whose preprocessing decodes at a part of the size."""
    operations = model.preprocess.to_json()
    operations[1]["DecodeImage"]["scaled"] = True
    preprocess = Preprocess.from_json(operations)
    return Embedder.of(model.runtime, preprocess, model.size, model.binarize, "", model.name)


def alone(stage: Callable[[], Any], per: int = 1) -> float:
    """Median milliseconds of a stage for one picture."""
    stage()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        stage()
        times.append(time.perf_counter() - start)
    return round(1000 * statistics.median(times) / per, 3)


def shares(file: str, peer: Straightforward, models: dict[str, Embedder]) -> dict[str, dict[str, float]]:
    """Milliseconds of the stages of one picture."""
    data = np.fromfile(file, np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    small = peer.resize(image)
    one = peer.normalise(small)
    read = alone(lambda: np.fromfile(file, np.uint8))
    told = {
        "straightforward": {
            "read": read,
            "decode": alone(lambda: cv2.imdecode(data, cv2.IMREAD_COLOR)),
            "resize": alone(lambda: peer.resize(image)),
            "normalise": alone(lambda: peer.normalise(small)),
            "model": alone(lambda: peer.model(one)),
        }
    }
    many = np.repeat(one, BATCH, axis=0)
    for name, model in models.items():
        decode, *geometry, normalise = model.preprocess.operations
        decoded, out = decode(bytes(data)), np.empty_like(one[0])
        resized = decoded
        for operation in geometry:
            resized = operation(resized)
        told[name] = {
            "read": read,
            "decode": alone(lambda d=decode: d(bytes(data))),
            "resize": alone(lambda g=geometry, d=decoded: [operation(d) for operation in g]),
            "normalise": alone(lambda n=normalise, r=resized, o=out: n.to_planes(r, o)),
            "model": alone(lambda m=model: m.runtime(many), BATCH),
        }
    return told


def measure(
    name: str, folder: Path, files: dict[str, list[str]], threads: int, rounds: int
) -> dict[str, Any]:
    """All figures of a model."""
    peer = Straightforward(folder / "model.onnx", threads)
    embedder = Embedder(folder, backend="onnx", threads=threads)
    ours = {"lookalike": embedder, "lookalike, scaled": scaled(embedder)}
    ways: dict[str, Callable[[list[str]], np.ndarray]] = {
        "straightforward": peer,
        **{way: lambda chosen, m=model: m.encode(chosen, batch_size=BATCH) for way, model in ours.items()},
    }
    told: dict[str, Any] = {}
    for kind, chosen in files.items():
        expected = peer(chosen[:4])
        far = float(np.abs(embedder.encode(chosen[:4]) - expected).max() / np.abs(expected).max())
        if not far <= 1e-4:
            raise SystemExit(
                f"{name}: features differ by {far:.2g} of the largest: not the same preprocessing"
            )
        times: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(rounds):
            for way, run in ways.items():
                start = time.perf_counter()
                run(chosen)
                times[way].append(1000 * (time.perf_counter() - start) / len(chosen))
        medians = {way: round(statistics.median(values), 3) for way, values in times.items()}
        told[kind] = {
            "limit": LIMITS[kind],
            "bytes": round(statistics.mean(Path(file).stat().st_size for file in chosen)),
            "milliseconds": medians,
            "ratio": {way: round(medians[way] / medians["straightforward"], 4) for way in ours},
            "shares": shares(chosen[0], peer, ours),
        }
    return told


def table(told: dict[str, Any]) -> str:
    lines = [f"{told['threads']} threads, {told['workers']} workers; milliseconds a picture:"]
    for name in MODELS:
        for kind, figures in told[name].items():
            limit, size = figures["limit"], figures["bytes"] / 1e6
            lines.append(f"{name}, {kind} ({size:.2f} MB; to be reached: {limit} of the straightforward way)")
            for way, value in figures["milliseconds"].items():
                ratio = f"  {figures['ratio'][way]:.3f}" if way in figures["ratio"] else " " * 7
                stages = ", ".join(f"{stage} {each:.2f}" for stage, each in figures["shares"][way].items())
                lines.append(f"  {way:18}{value:8.2f}{ratio}   alone: {stages}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--large", type=int, default=32, help="pictures of 12 megapixels")
    parser.add_argument("--small", type=int, default=128, help="pictures of 350 px")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/grocery"))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    told: dict[str, Any] = {"threads": arguments.threads, "workers": default_workers()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = draw(folder, arguments.data, {"12 MP": arguments.large, "350 px": arguments.small})
        told["load_before"] = os.getloadavg()[0]
        for model, overrides in MODELS.items():
            exported = export_random(folder / model, overrides)
            told[model] = measure(model, exported, files, arguments.threads, arguments.rounds)
    print(json.dumps(told) if arguments.json else table(told))


if __name__ == "__main__":
    main()
