"""Pictures a second on a GPU: `Embedder.encode` with PyTorch, compiled, in half precision, and the loop with
which timm measures inference.

    python benchmarks/gpu.py [--backbone timm/resnet50] [--batch-size 256] [--rounds 5] [--json]

timm's loop: the same network of the same timm, weights and input in float16 with channels last, compiled,
cuDNN free to choose; one batch of noise, which lies on the GPU already, again and again. Nothing is read,
copied or normalised there.

Embedder: a model folder of that network (global pooling, L2 normalisation) takes one array of uint8 pictures
of 224x224 in the memory of the host; they are copied, normalised and computed, batch by batch
(`backend="torch", device="cuda", precision="fp16", compile=True`), and the vectors come back as float32.
`list` gives the same pictures one by one, `files` as JPEG files, which are decoded on the way: the cores
decide that.

Both take turns; told are the medians of the rounds, and `ratio_to_timm`, which is to reach 0.95.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import timm
import torch

from lookalike import Embedder, Recipe
from lookalike.deploy.export import export_model
from lookalike.model import build_model

SIDE = 224
SHARE = 4
"""What takes longer gets so much less to do."""


def recipe_of(backbone: str) -> Recipe:
    """A network cut behind its pooling, and the preprocessing of ImageNet."""
    operations = [
        {"ResizeImage": {"size": [SIDE, SIDE]}},
        {
            "NormalizeImage": {
                "scale": "1.0/255.0",
                "mean": [0.485, 0.456, 0.406],
                "std": [0.229, 0.224, 0.225],
                "order": "",
            }
        },
    ]
    return Recipe.from_dict(
        {
            "Global": {"image_shape": [3, SIDE, SIDE], "seed": 0},
            "Arch": {
                "name": "RecModel",
                "infer_output_key": "backbone",
                "Backbone": {"name": backbone, "pretrained": False},
                "BackboneStopLayer": {"name": "flatten"},
            },
            "RecPreProcess": {"transform_ops": operations},
        }
    )


def rate_of(run: Callable[[], int]) -> float:
    torch.cuda.synchronize()
    started = time.perf_counter()
    count = run()
    torch.cuda.synchronize()
    return count / (time.perf_counter() - started)


def be_timm(name: str, batch_size: int, batches: int) -> None:
    """The other process: for each line that it reads, a line with the rate of timm's loop."""
    torch.backends.cudnn.benchmark = True
    model = timm.create_model(name, num_classes=0).eval().cuda().half().to(memory_format=torch.channels_last)
    compiled = torch.compile(model)
    noise = torch.randn(batch_size, 3, SIDE, SIDE, device="cuda", dtype=torch.float16)
    noise = noise.contiguous(memory_format=torch.channels_last)

    def run() -> int:
        with torch.no_grad():
            for _ in range(batches):
                compiled(noise)
        return batches * batch_size

    run()
    print("ready", flush=True)
    for _ in sys.stdin:
        print(rate_of(run), flush=True)


class Timm:
    """A process of its own, so that neither's settings of PyTorch reach the other."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        words = ["--backbone", arguments.backbone, "--batch-size", arguments.batch_size]
        words += ["--batches", arguments.batches, "--timm"]
        self.process = subprocess.Popen(
            [sys.executable, __file__, *map(str, words)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def wait(self) -> None:
        """Until it has compiled."""
        self._answer()

    def rate(self) -> float:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(self._answer())

    def _answer(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("timm's loop ended with an error, see above")
        return line


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbone", default="timm/resnet50")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--batches", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--timm", action="store_true", help="be timm's loop")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("this needs a GPU that PyTorch can use")
    if arguments.timm:
        be_timm(arguments.backbone.removeprefix("timm/"), arguments.batch_size, arguments.batches)
        return
    timm_loop = Timm(arguments) if arguments.backbone.startswith("timm/") else None
    count = arguments.batches * arguments.batch_size
    generator = np.random.default_rng(0)
    few = generator.integers(0, 256, (arguments.batch_size, SIDE, SIDE, 3), dtype=np.uint8)
    pictures = np.tile(few, (arguments.batches, 1, 1, 1))
    with tempfile.TemporaryDirectory() as temporary:
        folder, files = Path(temporary) / "inference", []
        for number, picture in enumerate(few):
            files.append(Path(temporary) / f"{number}.jpg")
            smooth = cv2.resize(picture[:28, :28], (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
            cv2.imwrite(str(files[-1]), smooth)
        recipe = recipe_of(arguments.backbone)
        torch.manual_seed(0)
        export_model(recipe, build_model(recipe.arch).eval(), folder, "a seed")
        options: dict[str, Any] = {"batch_size": arguments.batch_size, "workers": arguments.workers}
        engines = {}
        for name, chosen in {
            "eager, fp32": {},
            "eager, fp16": {"precision": "fp16"},
            "compiled, fp16": {"precision": "fp16", "compile": True},
        }.items():
            embedder = Embedder(folder, backend="torch", device="cuda", **chosen)
            engines[name] = lambda embedder=embedder: len(embedder.encode(pictures, **options))
        compiled = embedder
        listed = list(pictures[: count // SHARE])
        engines["compiled, fp16, list"] = lambda: len(compiled.encode(listed, **options))
        several = [files[number % len(files)] for number in range(count // SHARE)]
        engines["compiled, fp16, files"] = lambda: len(compiled.encode(several, **options))
        rates: dict[str, list[float]] = {name: [] for name in (*engines, "timm's loop")}
        for run in engines.values():
            run()  # compiles, and finds the fastest algorithms
        if timm_loop is not None:
            timm_loop.wait()
        for _ in range(arguments.rounds):
            for name, run in engines.items():
                rates[name].append(rate_of(run))
            if timm_loop is not None:
                rates["timm's loop"].append(timm_loop.rate())
        expected = Embedder(folder, backend="onnx").encode(few[:32])
        found = compiled.encode(few[:32])
    told: dict[str, Any] = {
        "device": torch.cuda.get_device_name(),
        "backbone": arguments.backbone,
        "pictures_a_second": {name: round(statistics.median(each)) for name, each in rates.items() if each},
        "largest_1_minus_cosine": float((1 - (found * expected).sum(axis=1)).max()),
    }
    if timm_loop is not None:
        ratios = [a / b for a, b in zip(rates["compiled, fp16"], rates["timm's loop"], strict=True)]
        told["ratio_to_timm"] = round(statistics.median(ratios), 3)
    print(json.dumps(told) if arguments.json else json.dumps(told, indent=2))


if __name__ == "__main__":
    main()
