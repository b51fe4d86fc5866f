"""What only a GPU can show: `pytest tests/gpu`. Everywhere else it is skipped."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from lookalike import Embedder, Recipe, evaluate, export, train
from lookalike.core.errors import UserError
from tests.conftest import REPOSITORY
from tests.tiny import recipe_values
from tests.training.runs import WITH_STATE, differing_tensors, interrupted_train

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def values_of(pictures: Path, output: Path, **settings: Any) -> dict[str, Any]:
    values = recipe_values(pictures, output, epochs=3)
    values["Global"] |= {"device": "gpu", **settings}
    return values


@pytest.mark.parametrize(
    "amp",
    [
        None,
        {"dtype": "float16", "use_dynamic_loss_scaling": True, "scale_loss": 65536.0},
        {"dtype": "float16", "use_dynamic_loss_scaling": False, "scale_loss": 128.0},
        {"dtype": "bfloat16"},
    ],
    ids=["float32", "float16", "float16 with a fixed scale", "bfloat16"],
)
def test_training_learns_and_scores_as_on_the_processor(
    pictures: Path, tmp_path: Path, amp: dict[str, Any] | None
) -> None:
    values = values_of(pictures, tmp_path)
    values["EMA"] = {"decay": 0.9}
    if amp is not None:
        values["AMP"] = {"use_amp": True, **amp}
    train(Recipe.from_dict(values))
    checkpoint = tmp_path / "RecModel" / "latest"
    history = json.loads((checkpoint / "state/training.json").read_text())["history"]
    losses = [epoch["loss"] for epoch in history]
    assert all(map(math.isfinite, losses))
    assert losses[-1] < losses[0]

    files = sorted((pictures / "pictures").rglob("*.png"))
    found, expected = (
        Embedder.from_checkpoint(checkpoint, device=device).encode(files) for device in ("cuda", "cpu")
    )
    assert (1 - (found * expected).sum(axis=1)).max() < 1e-4
    if amp is None:  # after a few steps in half precision, nearly equal vectors change places by rounding
        scores = []
        for device in ("gpu", "cpu"):
            values["Global"] |= {"device": device, "pretrained_model": str(checkpoint)}
            scores.append(evaluate(Recipe.from_dict(values)).metrics)
        assert scores[0] == pytest.approx(scores[1], abs=1e-6)


def test_resumed_run_equals_uninterrupted_run(pictures: Path, tmp_path: Path) -> None:
    """Bit for bit, with the algorithms that give the same bits again."""

    def recipe(part: str, **settings: Any) -> Recipe:
        values = values_of(pictures, tmp_path / part, deterministic=True, **settings)
        values["EMA"], values["AMP"] = {"decay": 0.9}, {"use_amp": True, "dtype": "float16"}
        values["Loss"]["Train"] += WITH_STATE
        return Recipe.from_dict(values)

    train(recipe("whole"))
    stopped = interrupted_train(recipe("parts"), 9)
    assert stopped.interrupted == "SIGINT"
    latest = tmp_path / "parts/RecModel/latest"
    train(recipe("parts", checkpoints=str(latest)))
    assert differing_tensors(tmp_path / "whole/RecModel/latest", latest) == []


def torchrun(processes: int, *words: str | Path) -> subprocess.CompletedProcess[str]:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    return subprocess.run(
        [*launch, str(processes), "-m", "lookalike", *map(str, words)],
        cwd=REPOSITORY,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=90,
    )


@pytest.mark.parametrize("processes", [1, 2])
def test_processes_that_talk_by_nccl(pictures: Path, tmp_path: Path, processes: int) -> None:
    """Batch norms over all processes, gradients and figures gathered: those of one process."""
    if torch.cuda.device_count() < processes and "NCCL_MULTI_RANK_GPU_ENABLE" not in os.environ:
        pytest.skip("needs two GPUs, or an NCCL that lets two processes share one")
    values = values_of(pictures, tmp_path / "run")
    values["Arch"]["use_sync_bn"] = True
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(values))
    done = torchrun(processes, "train", "-c", recipe)
    assert done.returncode == 0, done.stderr[-3000:]
    weights = f"Global.pretrained_model={tmp_path / 'run/RecModel/latest'}"
    done = torchrun(processes, "eval", "-c", recipe, "-o", weights, "--json")
    assert done.returncode == 0, done.stderr[-3000:]
    values["Global"]["pretrained_model"] = str(tmp_path / "run/RecModel/latest")
    alone = evaluate(Recipe.from_dict(values)).metrics
    told = json.loads(done.stdout)["metrics"]
    assert told == pytest.approx({name: alone[name] for name in told}, abs=1e-6)


@pytest.fixture(scope="session")
def settled(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of a run that is long enough for the running statistics of its batch norms: with
    those of a few batches, values overflow in float16.
    """
    output = tmp_path_factory.mktemp("settled")
    values = recipe_values(pictures, output, epochs=20)
    values["Global"] |= {"device": "gpu", "eval_during_train": False}
    train(Recipe.from_dict(values))
    values["Global"]["pretrained_model"] = str(output / "RecModel/latest")
    export(Recipe.from_dict(values))
    return output


@pytest.mark.parametrize(
    ("options", "limit"),
    [
        ({}, 1e-5),
        ({"precision": "bf16"}, 5e-2),
        ({"precision": "fp16"}, 1e-3),
        ({"precision": "fp16", "compile": True}, 1e-3),
    ],
    ids=["float32", "bfloat16", "float16", "float16 compiled"],
)
def test_features_of_a_model_folder(
    pictures: Path, settled: Path, options: dict[str, Any], limit: float
) -> None:
    """On a GPU as on the processor, also the last batch, which is smaller, and the order of pictures."""
    files = sorted((pictures / "pictures").rglob("*.png"))
    expected = Embedder(settled / "inference", backend="onnx").encode(files)
    model = Embedder(settled / "inference", device="cuda", **options)
    assert model.geometry is not None  # pixels are copied, and normalised there
    arrays = np.stack([model.geometry(str(file)) for file in files])
    np.testing.assert_allclose(
        model.encode(arrays, batch_size=16), model.encode(files, batch_size=16), atol=1e-3
    )
    for batch_size in (16, 5):
        found = model.encode(files, batch_size=batch_size, workers=8)
        assert found.dtype == np.float32
        assert found.shape == expected.shape
        assert (1 - (found * expected).sum(axis=1)).max() < limit
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_a_checkpoint_and_a_missing_gpu(pictures: Path, settled: Path) -> None:
    files = sorted((pictures / "pictures").rglob("*.png"))[:8]
    checkpoint = settled / "RecModel/latest"
    expected = Embedder.from_checkpoint(checkpoint).encode(files)
    found = Embedder.from_checkpoint(checkpoint, device="cuda", precision="fp16").encode(files)
    assert (1 - (found * expected).sum(axis=1)).max() < 1e-3
    with pytest.raises(UserError, match="PyTorch sees"):
        Embedder(settled / "inference", backend="torch", device="cuda:99")


def test_overflow_says_what_to_do(pictures: Path, trained: Path) -> None:
    files = sorted((pictures / "pictures").rglob("*.png"))
    with pytest.raises(UserError, match="fp16 overflows above 65,504"):
        Embedder(trained / "inference", device="cuda", precision="fp16").encode(files)
