"""PyTorch as a runtime: half precision, compiling, arrays that need no reading. For GPUs see `tests/gpu`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lookalike import Embedder, Recipe
from lookalike.core.errors import UserError
from lookalike.deploy.export import ExportOptions, export
from lookalike.deploy.runtimes.torch_runtime import TorchRuntime
from tests.tiny import SIDE, recipe_values


@pytest.fixture(scope="module")
def folder(pictures: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder whose graph takes pixels."""
    values = recipe_values(pictures, tmp_path_factory.mktemp("pixels"))
    values["Global"]["pretrained_model"] = str(trained / "RecModel/latest")
    return export(Recipe.from_dict(values), options=ExportOptions("uint8_nhwc", sample=4)).folder


@pytest.fixture(scope="module")
def block() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (11, SIDE, SIDE, 3), dtype=np.uint8)


def test_an_array_that_fits_is_not_read(
    folder: Path, block: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same vectors and positions as picture by picture, from the memory in which it lies."""
    model = Embedder(folder, backend="torch", precision="bf16")
    expected = model.encode(list(block), batch_size=4)
    given: list[Any] = []
    begin = model.runtime.begin  # type: ignore[attr-defined]
    monkeypatch.setattr(
        model.runtime, "begin", lambda batch: given.append(batch) or begin(batch), raising=False
    )
    parts = list(model.stream(block, batch_size=4))
    np.testing.assert_array_equal(np.concatenate([positions for positions, _ in parts]), np.arange(11))
    np.testing.assert_array_equal(np.concatenate([vectors for _, vectors in parts]), expected)
    assert [len(batch) for batch in given] == [4, 4, 3]
    assert all(np.shares_memory(batch, block) for batch in given)
    np.testing.assert_array_equal(model.encode(block[:, ::-1], batch_size=4).shape, expected.shape)
    for wrong in ({"batch_size": 0}, {"workers": 0}):
        with pytest.raises(UserError, match="must be a whole number of at least 1"):
            model.encode(block, **wrong)
    with pytest.raises(UserError, match="on_broken must be 'raise', 'skip' or a function, and is 'ignore'"):
        model.encode(block, on_broken="ignore")  # type: ignore[arg-type]


def test_an_array_of_another_size_is_read(folder: Path) -> None:
    model = Embedder(folder, backend="torch")
    large = np.random.default_rng(0).integers(0, 256, (3, SIDE + 8, SIDE, 3), dtype=np.uint8)
    np.testing.assert_array_equal(model.encode(large), model.encode(list(large)))


def test_half_precision_gives_vectors_of_length_1(trained: Path, pictures: Path) -> None:
    files = sorted((pictures / "pictures").rglob("*.png"))[:8]
    exact = Embedder(trained / "inference", backend="torch").encode(files)
    half = Embedder(trained / "inference", backend="torch", precision="bf16").encode(files)
    assert not np.array_equal(half, exact)
    # 8 bits of mantissa through 13 layers, whose norms have seen a few batches: one picture is far off
    assert np.median(1 - (half * exact).sum(axis=1)) < 1e-3
    np.testing.assert_allclose(np.linalg.norm(half, axis=1), 1, atol=1e-6)


def test_a_smaller_batch_is_filled_up_where_it_was_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    class Counts(torch.nn.Module):
        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            seen.append(len(batch))
            return batch.float().mean(dim=(2, 3))

    monkeypatch.setattr(torch, "compile", lambda module, **_: module)  # a compiler takes a minute
    runtime = TorchRuntime(Counts(), torch.device("cpu"), compile=True)
    batch = np.random.default_rng(0).random((5, 3, 4, 4), dtype=np.float32)
    expected = batch.mean(axis=(2, 3))
    for count in (4, 1, 3, 5, 2):
        np.testing.assert_allclose(runtime(batch[:count]), expected[:count], rtol=1e-6)
    assert seen == [4, 4, 4, 5, 5]


def test_the_size_of_a_checkpoint_is_found_without_the_compiler(
    trained: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For the one picture that tells it, it would compile once more."""
    seen: list[int] = []

    def compiled(module: torch.nn.Module, **_: Any) -> Any:
        def run(batch: torch.Tensor) -> Any:
            seen.append(len(batch))
            return module(batch)

        return run

    monkeypatch.setattr(torch, "compile", compiled)
    files = sorted((pictures / "pictures").rglob("*.png"))[:6]
    model = Embedder.from_checkpoint(trained / "RecModel" / "best_model", compile=True)
    assert model.size == 16
    assert model.encode(files, batch_size=4).shape == (6, 16)
    assert seen == [4, 4]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "fp16"}, "backend 'auto' computes in the precision of its graph"),
        ({"backend": "onnx", "compile": True}, "backend 'onnx' computes in the precision of its graph"),
        ({"backend": "torch", "precision": "fp8"}, "unknown precision 'fp8'"),
    ],
)
def test_what_other_runtimes_do_not_have(trained: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Embedder(trained / "inference", **options)
