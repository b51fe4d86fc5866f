"""A model folder gives the same features in every runtime, and `auto` chooses one of them."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest
import torch

from lookalike import ModelFolder
from lookalike.core.errors import UserError
from lookalike.deploy.runtimes import automatic_runtime, runtime
from lookalike.deploy.runtimes.automatic_runtime import AutomaticRuntime, fastest, trial
from lookalike.deploy.runtimes.openvino_runtime import OpenVinoRuntime
from lookalike.deploy.runtimes.runtime import Batch, Floats, open_runtime
from tests.tiny import SIDE

needs_openvino = pytest.mark.skipif(
    find_spec("openvino") is None, reason="openvino is not installed (pip install 'lookalike[openvino]')"
)
RELATIVE = 1e-4
"""Float32 with sums in another order: 3e-7 of the largest value, but of noise, which the batch norms of so
short a training have never seen, some pictures are magnified to 3e-5. It is the tolerance of `export`."""


@pytest.fixture(scope="module")
def folder(trained: Path) -> ModelFolder:
    return ModelFolder.open(trained / "inference")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOKALIKE_CACHE", str(tmp_path / "cache"))


def pictures(count: int) -> Floats:
    return np.random.default_rng(count).standard_normal((count, 3, SIDE, SIDE), np.float32)


@pytest.mark.parametrize("count", [1, 5, 16])
@pytest.mark.parametrize("backend", ["auto", "torch", pytest.param("openvino", marks=needs_openvino)])
def test_every_runtime_gives_the_features_of_onnxruntime(
    folder: ModelFolder, backend: str, count: int
) -> None:
    expected = open_runtime(folder, "onnx", threads=1)(pictures(count))
    found = open_runtime(folder, backend, threads=1)(pictures(count))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=RELATIVE * np.abs(expected).max())


@pytest.mark.parametrize("backend", ["onnx", "torch", pytest.param("openvino", marks=needs_openvino)])
def test_a_runtime_serves_several_threads_at_once(folder: ModelFolder, backend: str) -> None:
    run = open_runtime(folder, backend, threads=1)
    batches = [pictures(count) for count in (2, 3, 4, 5)]
    expected = [run(batch) for batch in batches]
    found: dict[int, list[Floats]] = {number: [] for number in range(len(batches))}

    def work(number: int) -> None:
        found[number] = [run(batches[number]) for _ in range(5)]

    threads = [Thread(target=work, args=(number,)) for number in found]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    for number, several in found.items():
        assert len(several) == 5
        for features in several:
            np.testing.assert_allclose(features, expected[number], atol=RELATIVE)


@pytest.mark.parametrize("backend", ["onnx", pytest.param("openvino", marks=needs_openvino)])
@pytest.mark.parametrize(
    ("batch", "told"),
    [
        (np.zeros((1, 3, 8, 8), np.float32), r"takes pictures of 3x32x32, but .* gives 3x8x8"),
        (np.zeros((1, 3, SIDE, SIDE), np.uint8), r"takes pictures of float32, but .* gives uint8"),
    ],
)
def test_a_batch_that_does_not_fit_is_refused(
    folder: ModelFolder, backend: str, batch: Batch, told: str
) -> None:
    with pytest.raises(UserError, match=told):
        open_runtime(folder, backend)(batch)


@pytest.mark.parametrize("backend", ["onnx", pytest.param("openvino", marks=needs_openvino)])
def test_a_damaged_graph_is_one_sentence(folder: ModelFolder, backend: str, tmp_path: Path) -> None:
    for file in folder.path.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes()[: 100 if file.suffix == ".onnx" else None])
    with pytest.raises(UserError, match=r"model\.onnx cannot be read"):
        open_runtime(ModelFolder.open(tmp_path), backend)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"backend": "onxx"}, "unknown backend 'onxx', did you mean 'onnx'"),
        ({"threads": 0}, "threads must be a whole number of at least 1, got 0"),
        ({"backend": "onnx", "device": "cuda"}, "onnxruntime computes on the CPU only"),
        ({"backend": "onnx", "device": "tpu"}, "unknown device 'tpu'"),
        ({"backend": "torch", "device": "cuda:77"}, "device 'cuda:77': PyTorch sees"),
        pytest.param({"backend": "openvino", "device": "cuda"}, "'openvino' computes on the CPU"),
    ],
)
def test_what_cannot_run_is_told(folder: ModelFolder, arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        open_runtime(folder, **arguments)


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_gpu_that_onnxruntime_cannot_load_is_told(
    folder: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lists CUDA also where the libraries are missing, drops it, and would compute on the CPU."""
    both = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: both)
    with pytest.raises(UserError, match=r"cannot load CUDAExecutionProvider and would compute with CPUEx"):
        open_runtime(folder, "onnx", device="cuda")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(UserError, match=r"device 'cuda': PyTorch sees no GPU"):  # `auto` has gone on to it
        open_runtime(folder, "auto", device="cuda")


INT8_WITH_ITS_BATCH = """
<ir_version: 10, opset_import: ["" : 20]>
network (float[batch, 1, 4, 4] images) => (float[batch, 3] features)
<float step = {0.05}, uint8 middle = {128}, int8[3, 1, 1, 1] weights = {40, 50, 60},
 float[3] steps = {0.01, 0.01, 0.01}, int8[3] zeros = {0, 0, 0}, float[3] bias = {-1.0, 0.5, 2.0},
 float[1] one = {1.0}, int64[1] column = {1}>
{
    rounded = QuantizeLinear(images, step, middle)
    given = DequantizeLinear(rounded, step, middle)
    weight = DequantizeLinear <axis = 0> (weights, steps, zeros)
    map = Conv(given, weight, bias)
    whole = QuantizeLinear(map, step, middle)
    values = DequantizeLinear(whole, step, middle)
    pooled = GlobalAveragePool(values)
    flat = Flatten(pooled)
    size = Shape <start = 0, end = 1> (images)
    ones = Expand(one, size)
    factor = Unsqueeze(ones, column)
    features = Mul(flat, factor)
}
"""


@needs_openvino
def test_openvino_adds_its_own_bias_to_each_channel(folder: ModelFolder, tmp_path: Path) -> None:
    """Without folded constants it adds the first, -1, to all of them, where a size comes from the batch."""
    graph = tmp_path / folder.graph
    onnx.save(onnx.parser.parse_model(INT8_WITH_ITS_BATCH), graph)
    whole = replace(folder, path=tmp_path, precision="int8")
    batch = np.random.default_rng(0).standard_normal((5, 1, 4, 4), np.float32)
    expected, found = (open_runtime(whole, backend, threads=1)(batch) for backend in ("onnx", "openvino"))
    np.testing.assert_allclose(expected.mean(axis=0), [-1, 0.5, 2], atol=0.2)
    np.testing.assert_allclose(found, expected, atol=0.05)  # one step of rounding


@needs_openvino
def test_openvino_multiplies_in_8_bits(tmp_path: Path) -> None:
    """Constants are folded, but not the weights with their scales: as floats they would cost three times."""
    graph = tmp_path / "model.onnx"
    onnx.save(onnx.parser.parse_model(INT8_WITH_ITS_BATCH), graph)
    run = OpenVinoRuntime(graph, threads=1)
    kinds = {
        node.get_rt_info()["layerType"].astype(str): node.get_rt_info()["runtimePrecision"].astype(str)
        for node in run.compiled.get_runtime_model().get_ops()
    }
    assert kinds["Convolution"] in ("u8", "i8"), kinds


def test_a_runtime_that_is_not_installed_is_told(
    folder: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)  # import raises ImportError
    with pytest.raises(UserError, match=r"not installed: pip install 'lookalike\[openvino\]'"):
        open_runtime(folder, "openvino")


class Recorded:
    """A runtime that takes its time and counts what it is asked for."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.calls = seconds, 0

    def __call__(self, batch: Batch) -> Floats:
        automatic_runtime.time.sleep(self.seconds)
        self.calls += 1
        return np.full((len(batch), 2), self.seconds, np.float32)


SLOW, FAST = 0.004, 0.001


def automatic(
    first: float, other: float, key: str = "k"
) -> tuple[AutomaticRuntime, Recorded, list[Recorded]]:
    began, opened = Recorded(first), list[Recorded]()

    def open_other() -> Recorded:
        opened.append(Recorded(other))
        return opened[-1]

    return AutomaticRuntime(began, {"openvino": open_other}, key), began, opened


def test_auto_opens_nothing_else_for_a_few_pictures() -> None:
    run, _, opened = automatic(SLOW, FAST)
    for count in (1, 1, 1, 2, 7):
        run(np.zeros((count, 1)))
    assert not opened
    assert run.choices == {}


@pytest.mark.parametrize(("threads", "lengths"), [(1, [4, 4, 3]), (4, [6, 5])])
def test_onnxruntime_computes_large_batches_in_parts_in_order(
    folder: ModelFolder, monkeypatch: pytest.MonkeyPatch, threads: int, lengths: list[int]
) -> None:
    """Four at once, or two for each thread."""
    run = runtime.OnnxRuntime(folder.graph_file, threads)
    batch = np.random.default_rng(0).random((11, *folder.shape), np.float32)
    expected = np.concatenate([run(each[None]) for each in batch])
    seen: list[int] = []
    computed = run._computed
    monkeypatch.setattr(run, "_computed", lambda part: (seen.append(len(part)), computed(part))[1])
    np.testing.assert_allclose(run(batch), expected, atol=1e-6)  # of length one; sums in another order
    assert seen == lengths


@pytest.mark.parametrize(("first", "other", "name"), [(SLOW, FAST, "openvino"), (FAST, SLOW, "onnx")])
def test_auto_takes_the_faster_one_and_remembers_it(
    first: float, other: float, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "lookalike")
    logging.getLogger("lookalike").propagate = True
    run, _, opened = automatic(first, other)
    assert run(np.zeros((8, 1)))[0, 0] == np.float32(min(first, other))
    assert run.choices == {"many": name}
    assert f"backend auto: {name} for many (milliseconds" in caplog.text
    tried = opened[0].calls
    assert tried >= 2
    run(np.zeros((1, 1)))  # one alone is another load, which is not worth a trial yet
    assert run.choices == {"many": name}

    again, _, opened = automatic(first, other)  # as in another process
    again(np.zeros((8, 1)))
    assert again.choices == {"many": name}
    assert [each.calls for each in opened] == ([1] if name == "openvino" else [])


def test_auto_tries_single_pictures_when_many_came() -> None:
    run, _, opened = automatic(SLOW / 4, FAST / 4)
    for _ in range(automatic_runtime.PATIENCE["one"]):
        run(np.zeros((1, 1)))
    assert run.choices == {"one": "openvino"}
    assert opened


def test_auto_works_where_its_cache_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("LOOKALIKE_CACHE", str(tmp_path / "file"))
    run, _, _ = automatic(SLOW, FAST)
    run(np.zeros((8, 1)))
    assert run.choices == {"many": "openvino"}


@pytest.mark.parametrize("content", ["", "[1]", '{"many": 3}', '{"many": "gone"}', "{"])
def test_auto_tries_again_where_its_record_is_damaged(content: str, tmp_path: Path) -> None:
    record = tmp_path / "cache" / "runtimes" / "k.json"
    record.parent.mkdir(parents=True)
    record.write_text(content)
    run, _, _ = automatic(SLOW, FAST)
    run(np.zeros((8, 1)))
    assert run.choices == {"many": "openvino"}
    assert json.loads(record.read_text()) == {"many": "openvino"}


def test_auto_goes_on_where_the_other_runtime_cannot_read_the_graph() -> None:
    def refuse() -> Recorded:
        raise UserError("an operator that it does not know")

    run = AutomaticRuntime(Recorded(FAST), {"openvino": refuse}, "k")
    run(np.zeros((8, 1)))
    assert run.choices == {"many": "onnx"}


@needs_openvino
def test_auto_goes_on_where_openvino_cannot_compile_the_graph(
    folder: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    import openvino

    def refuse(*_: Any) -> None:
        raise RuntimeError("Exception from src/plugin.cpp:1\n[CPU] not implemented")

    monkeypatch.setattr(openvino.Core, "compile_model", refuse)
    with pytest.raises(UserError, match=r"model\.onnx cannot be compiled by OpenVINO: \[CPU\] not impl"):
        open_runtime(folder, "openvino")
    run = open_runtime(folder, "auto", threads=1)
    assert len(run(pictures(8))) == 8
    assert isinstance(run, AutomaticRuntime)
    assert run.choices == {"many": "onnx"}


def test_auto_needs_no_package_of_the_name_onnxruntime(
    folder: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The module may come with onnxruntime-gpu, and OpenVINO from an archive."""

    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(automatic_runtime, "version", missing)
    others = ["openvino"] if find_spec("openvino") else []
    key = automatic_runtime._key(folder, 1, others)
    monkeypatch.setattr(onnxruntime, "__version__", "another")
    assert automatic_runtime._key(folder, 1, others) != key


def test_the_first_runtime_stays_unless_another_is_clearly_faster() -> None:
    assert fastest({"onnx": 1.0, "openvino": 0.97}) == "onnx"
    assert fastest({"onnx": 1.0, "openvino": 0.9}) == "openvino"
    assert list(trial({"onnx": Recorded(0.0)}, np.zeros((1, 1)))) == ["onnx"]


def test_nothing_is_tried_without_a_second_runtime(
    folder: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(automatic_runtime.importlib.util, "find_spec", lambda name: None)
    assert isinstance(open_runtime(folder, "auto", threads=1), runtime.OnnxRuntime)


def test_auto_divides_batches_where_that_is_faster() -> None:
    opened = list[Recorded]()

    def divided() -> Recorded:
        opened.append(Recorded(FAST))
        return opened[-1]

    run = AutomaticRuntime(Recorded(SLOW), {"divided": divided}, "k", threads=12)
    for _ in range(automatic_runtime.PATIENCE["one"]):
        run(np.zeros((1, 1)))
    run(np.zeros((8, 1)))  # fewer than one for each thread
    assert not opened
    assert run.choices == {"one": "onnx"}
    run(np.zeros((12, 1)))
    assert run.choices == {"one": "onnx", "many": "divided"}
    tried = opened[0].calls
    run(np.zeros((1, 1)))
    assert opened[0].calls == tried


def test_auto_gives_the_features_of_onnxruntime_whatever_is_faster(
    folder: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(automatic_runtime, "fastest", lambda times: "divided")
    run = open_runtime(folder, "auto", threads=2)
    expected = open_runtime(folder, "onnx", threads=1)(pictures(16))
    found = run(pictures(16))
    assert isinstance(run, AutomaticRuntime)
    assert run.choices == {"many": "divided"}
    np.testing.assert_allclose(found, expected, rtol=0, atol=RELATIVE * np.abs(expected).max())


def test_torch_is_imported_for_its_own_backend_only(folder: ModelFolder) -> None:
    text = (
        "import sys, numpy as np\n"
        "from lookalike.deploy.model_folder import ModelFolder\n"
        "from lookalike.deploy.runtimes.runtime import open_runtime\n"
        f"folder = ModelFolder.open({str(folder.path)!r})\n"
        f"open_runtime(folder, 'auto')(np.zeros((8, 3, {SIDE}, {SIDE}), np.float32))\n"
        "print('torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
