"""Milliseconds from a preprocessed picture to its features: ours and Paddle Inference with oneDNN, on the
CPU.

    python benchmarks/latency.py [--threads 2] [--rounds 7] [--batches 1 32] [--json]
    python benchmarks/latency.py --paddle-python PATH      where Paddle has an environment of its own

The model is PPLCNetV2_base_ShiTu with a BNNeck, 512 numbers, 224x224: weights from a seed, statistics of its
batch norms from noise, which is as good as any other for the time. The same weights become a graph of
Paddle's own layers in a process of its own (`paddle_inference.py`, the extra `bench`), whose features have to
agree to 1e-4 before anything is timed. All engines take turns, round after round, each after a pause in which
the threads of the one before go to sleep; a figure is the median of a turn, and what is told is the median of
the rounds:

    paddle          Paddle Inference, oneDNN
    onnxruntime     our graph in onnxruntime as it comes
    onnx, openvino  our graph in `open_runtime(folder, backend)`
    auto            the same, as it chooses itself
    int8            the graph in 8 bits (U8S8, per channel), backend `auto`

Told as well is what float32 would take at best: the operations of the graph at the rate of a bare matrix
product (1024 x 1024) of onnxruntime with the same threads.

`ratio_f32_to_paddle` and `ratio_int8_to_paddle` are those of `auto` and `int8`: the quotient of medians, the
worse of the batches. Without VNNI int8 is to reach 0.32, with it 0.25; float 0.50.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lookalike import ModelFolder, load_recipe
from lookalike.core.machine import has_integer_dot_products, processor
from lookalike.deploy.export import export_model
from lookalike.deploy.quantisation.layers import prepared, work
from lookalike.deploy.runtimes.runtime import open_runtime
from lookalike.model import RecModel, build_model

RECIPE = Path(__file__).resolve().parent.parent / "recipes" / "general" / "pp_shitu_v2.yaml"
SHAPE = (3, 224, 224)
AGREEMENT = 1e-4
PAUSE = 0.3
TURN = 0.7
"""Seconds that an engine computes in a turn, at least three times."""

Engine = Callable[[int, int], list[float]]
"""(pictures in a batch, times) -> milliseconds of each time."""


def seeded_model() -> RecModel:
    """A model with random weights whose batch norms have seen noise, so that no map dies out on the way."""
    recipe = load_recipe(RECIPE, overrides=["Arch.Backbone.pretrained=False", "Arch.Head.class_num=10"])
    torch.manual_seed(0)
    model = build_model(recipe.arch).train()
    with torch.no_grad():
        for _ in range(3):
            model.embed(torch.randn(8, *SHAPE), "features")
    return model.eval()


class Paddle:
    """The other process."""

    def __init__(self, python: str, folder: Path, threads: int) -> None:
        script = Path(__file__).with_name("paddle_inference.py")
        self.folder = folder
        self.process = subprocess.Popen(
            [python, str(script), str(folder), str(threads)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=os.environ | {"OMP_NUM_THREADS": str(threads), "GLOG_minloglevel": "3"},
        )  # fmt: skip
        self.version = self._answer()["ready"]

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        assert self.process.stderr is not None
        raise SystemExit("Paddle ended:\n" + self.process.stderr.read()[-2000:])

    def ask(self, line: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self._answer()

    def outputs(self, batch: np.ndarray) -> np.ndarray:
        given, taken = self.folder / "batch.npy", self.folder / "features.npy"
        np.save(given, batch)
        self.ask(f"outputs {given} {taken}")
        return np.load(taken, allow_pickle=False)

    def __call__(self, batch: int, runs: int) -> list[float]:
        return self.ask(f"time {batch} {runs}")["milliseconds"]


def timed(run: Callable[[np.ndarray], np.ndarray]) -> Engine:
    def engine(batch: int, runs: int) -> list[float]:
        pictures = noise(batch)
        times = []
        for _ in range(runs):
            start = time.perf_counter()
            run(pictures)
            times.append(1000 * (time.perf_counter() - start))
        return times

    return engine


def noise(batch: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((batch, *SHAPE), np.float32)


def plain_onnxruntime(graph: Path, threads: int) -> Callable[[np.ndarray], np.ndarray]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    return lambda batch: session.run(None, {session.get_inputs()[0].name: batch})[0]


def product_rate(threads: int) -> float:
    """Operations a second, in 1e9, of a matrix product in onnxruntime: the median of thirty."""
    from onnx import TensorProto, helper, numpy_helper

    side = 1024
    numbers = np.random.default_rng(0).standard_normal((side, side), np.float32)
    taken, given = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [side, side]) for name in "xy")
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "product", [taken], [given], [numpy_helper.from_array(numbers, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "product.onnx"
        file.write_bytes(model.SerializeToString())
        run = plain_onnxruntime(file, threads)
    times = []
    for _ in range(30):
        start = time.perf_counter()
        run(numbers)
        times.append(time.perf_counter() - start)
    return 2 * side**3 / statistics.median(times) / 1e9


def operations(graph: Path) -> float:
    """Multiplications and additions of the graph for one picture, in 1e9."""
    with tempfile.TemporaryDirectory() as folder:
        return 2 * sum(work(prepared(graph, Path(folder))).values()) / 1e9


def write_weights(model: RecModel, file: Path) -> None:
    """The weights with branches fused, by the names of the backbone's layers."""
    state = model.fuse().state_dict()
    np.savez(file, **{name.removeprefix("backbone."): value.numpy() for name, value in state.items()})


def rounds(engines: dict[str, Engine], batches: list[int], count: int) -> dict[str, dict[int, list[float]]]:
    """Milliseconds a picture of each engine and batch in each round."""
    found: dict[str, dict[int, list[float]]] = {name: {batch: [] for batch in batches} for name in engines}
    for batch in batches:
        lengths = {}
        for name, engine in engines.items():  # what is done once for a shape is done here
            engine(batch, 2)
            lengths[name] = statistics.median(engine(batch, 3))
        for _ in range(count):
            for name, engine in engines.items():
                time.sleep(PAUSE)
                runs = max(3, round(1000 * TURN / lengths[name]))
                found[name][batch].append(statistics.median(engine(batch, runs)) / batch)
    return found


def int8_folder(folder: ModelFolder, at: Path) -> ModelFolder:
    """The same folder with its graph in 8 bits, calibrated with noise: for the time alone."""
    from lookalike.deploy.quantisation import quantise_graph

    at.mkdir()
    quantise_graph(folder.graph_file, at / folder.graph, [noise(8), noise(8)], tolerance=2.0)
    for file in folder.path.iterdir():
        if file.name != folder.graph:
            (at / file.name).write_bytes(file.read_bytes())
    return ModelFolder.open(at)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--engines", nargs="+", help="some of the engines; by default all that are installed")
    parser.add_argument("--paddle-python", default=sys.executable, help="a Python that has paddlepaddle")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
    with tempfile.TemporaryDirectory() as name:
        os.environ["LOOKALIKE_CACHE"] = name  # `auto` is to choose now, not to remember a busier hour
        told = measure(Path(name), arguments)
    if arguments.json:
        print(json.dumps(told))
    else:
        print(table(told))


def export_random(folder: str | Path) -> ModelFolder:
    """The model folder that is timed."""
    export_model(load_recipe(RECIPE), seeded_model(), Path(folder), None)
    return ModelFolder.open(folder)


def measure(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    threads = arguments.threads
    opened = export_random(folder / "model")
    engines: dict[str, Engine] = {}

    def wanted(name: str) -> bool:
        return not arguments.engines or name in arguments.engines

    told: dict[str, Any] = {"processor": processor(), "vnni": has_integer_dot_products(), "threads": threads}
    rate, needed = product_rate(threads), operations(opened.graph_file)
    told |= {"product_gflops": round(rate), "graph_gflop": round(needed, 3)}
    told["float32_at_best_ms"] = round(1000 * needed / rate, 3)
    expected = open_runtime(opened, "onnx", threads)(noise(4))
    if wanted("paddle"):
        write_weights(seeded_model(), folder / "weights.npz")
        paddle = Paddle(arguments.paddle_python, folder, threads)
        far = float(np.abs(paddle.outputs(noise(4)) - expected).max() / np.abs(expected).max())
        if not far <= AGREEMENT:
            raise SystemExit(f"Paddle's features differ by {far:.2g} of the largest: not the same model")
        told |= {"paddle": paddle.version, "paddle_difference": far}
        engines["paddle"] = paddle
    if wanted("onnxruntime"):
        engines["onnxruntime"] = timed(plain_onnxruntime(opened.graph_file, threads))
    automatic: dict[str, Any] = {}
    for backend in ("onnx", "openvino"):
        if wanted(backend) and (backend != "openvino" or importlib.util.find_spec("openvino")):
            engines[backend] = timed(open_runtime(opened, backend, threads))
    if wanted("auto"):
        automatic["auto"] = open_runtime(opened, "auto", threads)
    if wanted("int8"):
        # its copy of the manifest is that of the float graph, whose choice `auto` would take
        os.environ["LOOKALIKE_CACHE"] = str(folder / "cache")
        automatic["int8"] = open_runtime(int8_folder(opened, folder / "int8"), "auto", threads)
    engines |= {name: timed(runtime) for name, runtime in automatic.items()}
    before = os.getloadavg()
    found = rounds(engines, arguments.batches, arguments.rounds)
    medians = {
        name: {str(batch): round(statistics.median(times), 3) for batch, times in by_batch.items()}
        for name, by_batch in found.items()
    }
    told["chosen"] = {name: getattr(runtime, "choices", {}) for name, runtime in automatic.items()}
    told |= {"load_before": before[0], "load_after": os.getloadavg()[0], "milliseconds": medians}
    for engine, key in (("auto", "ratio_f32_to_paddle"), ("int8", "ratio_int8_to_paddle")):
        if engine in medians and "paddle" in medians:
            told[key] = round(
                max(medians[engine][batch] / medians["paddle"][batch] for batch in medians[engine]), 4
            )
    return told


def table(told: dict[str, Any]) -> str:
    lines = [
        f"{told['processor']}; {told['threads']} threads; int8 is to reach "
        f"{0.25 if told['vnni'] else 0.32} ({'VNNI' if told['vnni'] else 'no VNNI'})",
        "milliseconds a picture, by pictures in a batch:",
    ]
    for name, times in told["milliseconds"].items():
        lines.append(f"  {name:12}" + "".join(f"{batch:>5}: {value:7.2f}" for batch, value in times.items()))
    lines.append(
        f"float32 at best {told['float32_at_best_ms']:.2f}: {told['graph_gflop']} GFLOP at the "
        f"{told['product_gflops']} GFLOP/s of a matrix product"
    )
    for name, choices in told["chosen"].items():
        lines.append(f"{name} chose " + ", ".join(f"{choices[load]} for {load}" for load in choices))
    lines += [f"{key} {told[key]:.3f}" for key in told if key.startswith("ratio")]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
