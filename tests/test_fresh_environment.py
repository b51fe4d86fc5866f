"""`pip install .` in a new environment without torch: how large it is, and a model folder is used there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY

LARGEST = 450e6
"""Bytes that all packages together may take, without the bytecode that Python derives from them."""
OF_THE_VENV = ("pip", "setuptools", "pkg_resources", "_distutils_hack")


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a virtual environment that holds Lookalike and what it depends on."""
    made = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", made], check=True)
    pip = [made / "bin" / "python", "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", "--no-compile", REPOSITORY], check=True)
    return made


@pytest.fixture(scope="module")
def size(environment: Path) -> dict[str, int]:
    """Bytes by package, before anything was imported."""
    (packages,) = environment.glob("lib/python*/site-packages")
    sizes: dict[str, int] = {}
    for file in packages.rglob("*"):
        name = file.relative_to(packages).parts[0]
        if file.is_file() and not name.startswith(OF_THE_VENV) and "__pycache__" not in file.parts:
            sizes[name] = sizes.get(name, 0) + file.stat().st_size
    return sizes


@pytest.mark.slow
def test_it_is_small_and_without_torch(size: dict[str, int]) -> None:
    total = sum(size.values())
    largest = sorted(size, key=size.__getitem__, reverse=True)[:6]
    told = f"{total / 1e6:.0f} MB: {', '.join(f'{name} {size[name] / 1e6:.0f}' for name in largest)}"
    print(told)
    assert "torch" not in size
    assert total < LARGEST, told


@pytest.mark.slow
def test_a_model_folder_is_used_there(
    environment: Path, size: dict[str, int], trained: Path, pictures: Path, tmp_path: Path
) -> None:
    outside = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}

    def lookalike(*words: str | Path) -> dict[str, Any]:
        command = [environment / "bin" / "lookalike", *map(str, words), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, env=outside, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)  # type: ignore[no-any-return]

    root, model = pictures / "pictures", trained / "inference"
    assert lookalike("embed", model, "--list", pictures / "gallery.txt", "--root", root, "--out", "v.npz")[
        "pictures"
    ] == len((pictures / "gallery.txt").read_text().splitlines())
    assert 0 <= lookalike("eval", "--features", "v.npz")["metrics"]["recall1"] <= 1
    lookalike("gallery", "create", "g", "--model", model, root / "class 6")
    assert lookalike("gallery", "add", "g", root / "class 7")["added"] == 8
    (found,) = lookalike("search", "g", root / "class 7" / "2.png", "-k", "1")["results"]
    assert found["answers"][0]["label"] == "class 7"
    assert found["answers"][0]["score"] == pytest.approx(1, abs=1e-5)
