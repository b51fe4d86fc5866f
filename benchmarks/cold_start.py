"""Seconds of a process that begins: `lookalike --help`, and the first vector of a picture.

    python benchmarks/cold_start.py [--repeats 9] [--model FOLDER] [--picture FILE] [--json]

Each repeat starts processes of their own, in turns; told are the medians of their whole lives, from the start
of Python to its end, with the files of Python and of the model in the memory of the system as after a first
run. The vector is that of one JPEG of 640x480 with onnxruntime (`Embedder(folder).encode(picture)`), of
PPLCNetV2_base_ShiTu with 512 numbers unless `--model` names another folder. `python` is the start of Python
alone. `torch_imported` says which of them import torch: none may.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

LIMITS = {"help": 0.4, "first_vector": 1.2}

VECTOR = """
import sys
from lookalike import Embedder
assert Embedder(sys.argv[1], backend=sys.argv[3]).encode([sys.argv[2]]).shape[0] == 1
"""
TOLD = "\nimport sys; print('torch' in sys.modules)"


def programs(model: Path, picture: Path) -> dict[str, list[str]]:
    python = [sys.executable, "-c"]
    vector = [str(model), str(picture)]
    return {
        "python": [*python, "pass"],
        "import": [*python, "import lookalike"],
        "help": [str(Path(sys.executable).with_name("lookalike")), "--help"],
        "first_vector": [*python, VECTOR, *vector, "onnx"],
        "first_vector_auto": [*python, VECTOR, *vector, "auto"],
        "embed": [str(Path(sys.executable).with_name("lookalike")), "embed", *vector],
    }


def seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def imports_torch(command: list[str]) -> bool:
    """Of programs that are Python text."""
    told = [*command[:2], command[2] + TOLD, *command[3:]]
    return subprocess.run(told, check=True, capture_output=True, text=True).stdout.strip() == "True"


def draw_picture(file: Path) -> None:
    import cv2

    coarse = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    cv2.imwrite(str(file), cv2.resize(coarse, (640, 480), interpolation=cv2.INTER_CUBIC))


def measure(model: Path, picture: Path, repeats: int) -> dict[str, Any]:
    commands = programs(model, picture)
    times: dict[str, list[float]] = {name: [] for name in commands}
    for command in commands.values():
        seconds(command)  # files come into memory, and Python compiles what it has not yet
    for _ in range(repeats):
        for name, command in commands.items():
            times[name].append(seconds(command))
    medians = {name: round(statistics.median(each), 3) for name, each in times.items()}
    torch = {name: imports_torch(command) for name, command in commands.items() if command[1] == "-c"}
    within = {name: medians[name] <= limit for name, limit in LIMITS.items()}
    return {
        "load": os.getloadavg()[0], "seconds": medians, "limits": LIMITS, "within": within,
        "torch_imported": torch,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--model", type=Path, help="a model folder; by default one with random weights")
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        model, picture = arguments.model, arguments.picture
        if model is None:
            model = Path(name) / "model"
            export_random(model)
        if picture is None:
            picture = Path(name) / "picture.jpg"
            draw_picture(picture)
        told = measure(model, picture, arguments.repeats)
    if arguments.json:
        print(json.dumps(told))
        return
    for what, value in told["seconds"].items():
        limit = f"   (limit {LIMITS[what]} s)" if what in LIMITS else ""
        print(f"{what:18} {value:6.3f} s{limit}")
    print(f"torch imported: {told['torch_imported']}; load {told['load']:.2f}")


def export_random(folder: Path) -> None:
    """A model folder, written in a process of its own: torch shall not be in the memory of this one."""
    here = Path(__file__).resolve().parent
    text = "import latency, sys; latency.export_random(sys.argv[1])"
    subprocess.run(
        [sys.executable, "-c", text, str(folder)],
        check=True, stdout=subprocess.DEVNULL, env=os.environ | {"PYTHONPATH": str(here)},
    )  # fmt: skip


if __name__ == "__main__":
    main()
