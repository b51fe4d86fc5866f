"""A model folder and a gallery are used where torch is not installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lookalike import Embedder, Gallery
from tests.conftest import REPOSITORY

# runs before anything else in the process: these packages cannot be imported, as where they are not installed
BLOCK = """
import sys
from importlib.abc import MetaPathFinder
class Blocked(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "torchvision", "timm", "onnx", "onnxscript", "tensorboard"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocked())
"""


@pytest.fixture
def without_torch(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(BLOCK)
    return os.environ | {"PYTHONPATH": f"{tmp_path / 'site'}{os.pathsep}{REPOSITORY}"}


def run(environment: dict[str, str], *words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lookalike", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=REPOSITORY)


def test_embed_and_search(
    trained: Path, pictures: Path, tmp_path: Path, without_torch: dict[str, str]
) -> None:
    root, model, gallery = pictures / "pictures", trained / "inference", tmp_path / "g"
    told = run(without_torch, "embed", model, root / "class 6", "--out", tmp_path / "v.npz", "--json")
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["pictures"] == 8
    made = run(
        without_torch, "gallery", "create", gallery, "--model", model, root / "class 6", root / "class 7"
    )
    assert made.returncode == 0, made.stderr
    found = run(without_torch, "search", gallery, root / "class 7" / "2.png", "-k", "1", "--json")
    assert found.returncode == 0, found.stderr
    (answer,) = json.loads(found.stdout)["results"][0]["answers"]
    with_torch = Gallery.open(gallery).search(root / "class 7" / "2.png", k=1)[0]
    assert answer == with_torch.to_dict()


def test_eval_of_a_model_folder_and_of_feature_files(
    trained: Path, pictures: Path, tmp_path: Path, without_torch: dict[str, str]
) -> None:
    model, listed = trained / "inference", pictures / "gallery.txt"
    root = pictures / "pictures"
    named = [line.split("\t") for line in listed.read_text(encoding="utf-8").splitlines()]
    vectors = Embedder(model).encode([root / path for path, _ in named])
    np.savez(tmp_path / "v.npz", vectors=vectors, labels=[int(label) for _, label in named])
    by_file = run(without_torch, "eval", "--features", tmp_path / "v.npz", "--json")
    assert by_file.returncode == 0, by_file.stderr
    by_model = run(without_torch, "eval", "--model", model, "--query", listed, "--root", root, "--json")
    assert by_model.returncode == 0, by_model.stderr
    assert json.loads(by_model.stdout)["metrics"] == json.loads(by_file.stdout)["metrics"]


def test_what_needs_torch_says_so(trained: Path, pictures: Path, without_torch: dict[str, str]) -> None:
    picture = pictures / "pictures" / "class 6" / "0.png"
    for words in (
        ("embed", trained / "RecModel" / "best_model", picture),
        ("train", "-c", "quickstart/brand_marks"),
    ):
        told = run(without_torch, *words)
        assert told.returncode == 2
        assert "pip install 'lookalike[train]'" in told.stderr.splitlines()[-1]
        assert "Traceback" not in told.stderr
