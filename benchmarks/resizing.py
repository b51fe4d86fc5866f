"""How near resizing in a graph is to OpenCV, and how long it takes: `export --input uint8-any-size`.

    python benchmarks/resizing.py [--data ../shared/data/grocery] [--pictures 120] [--rounds 150]

Pictures are resized to 224 pixels, as they are and enlarged to 1361x1023, by OpenCV, by the graph's geometry
and by the bilinear resize that PyTorch and ONNX have; told is the share of values in which either differs
from OpenCV's, and the largest difference in levels. Times are the best of many rounds, one thread of
onnxruntime, one picture at a time. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from lookalike.deploy.deployed import FromPixels
from lookalike.deploy.export.graph import put_before, write_graph
from lookalike.deploy.geometry import Geometry
from lookalike.deploy.runtimes.runtime import OnnxRuntime
from lookalike.images import Preprocess, decode_image

SIDE = 224
ENLARGED = (1361, 1023)
TIMED = ((350, 350), (1080, 1920), (3000, 4000))


def bilinear(picture: np.ndarray) -> np.ndarray:
    """The resize of PyTorch, rounded to levels."""
    planes = torch.from_numpy(picture).permute(2, 0, 1)[None].float()
    resized = torch.nn.functional.interpolate(planes, (SIDE, SIDE), mode="bilinear", align_corners=False)
    return resized[0].permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8).numpy()


def milliseconds(run: Callable[[], Any], rounds: int) -> float:
    run()
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return round(1000 * min(times), 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data/grocery"))
    parser.add_argument("--pictures", type=int, default=120)
    parser.add_argument("--rounds", type=int, default=150)
    asked = parser.parse_args()
    cv2.setNumThreads(1)
    preprocess = Preprocess([{"ResizeImage": {"size": SIDE}}, {"ToTensor": None}])
    pixels, arithmetic = preprocess.split()
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder) / "model.onnx"
        example = torch.zeros(2, SIDE, SIDE, 3, dtype=torch.uint8)
        write_graph(FromPixels(torch.nn.Identity(), arithmetic), example, graph)
        before = OnnxRuntime(graph, threads=1)
        put_before(Geometry(preprocess), graph)
        resizing = OnnxRuntime(graph, threads=1)
    files = sorted((asked.data / "images").rglob("*.jpg"))
    values = 0
    differ = {"graph": [0, 0], "bilinear": [0, 0]}
    for file in rng.choice(files, asked.pictures, replace=False):
        picture = decode_image(file)
        for given in (picture, cv2.resize(picture, ENLARGED, interpolation=cv2.INTER_CUBIC)):
            expected = pixels(given)
            planes = np.rint(resizing(given[None])[0] * 255).astype(np.uint8)
            values += expected.size
            for name, found in (("graph", planes.transpose(1, 2, 0)), ("bilinear", bilinear(given))):
                apart = np.abs(found.astype(int) - expected)
                differ[name][0] += int((apart > 0).sum())
                differ[name][1] = max(differ[name][1], int(apart.max()))
    times = {}
    for height, width in TIMED:
        picture = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        small = pixels(picture)[None]
        whole = milliseconds(lambda picture=picture: resizing(picture[None]), asked.rounds)
        rest = milliseconds(lambda small=small: before(small), asked.rounds)
        opencv = milliseconds(lambda picture=picture: pixels(picture), asked.rounds)
        times[f"{width}x{height}"] = {"graph": round(whole - rest, 3), "opencv": opencv}
    told = {
        name: {"share": round(count / values, 6), "largest": largest}
        for name, (count, largest) in differ.items()
    }
    print(json.dumps({"values": values, "differ": told, "milliseconds": times}, indent=2))


if __name__ == "__main__":
    main()
