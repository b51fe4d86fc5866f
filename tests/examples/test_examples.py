"""The scripts in examples/ do what they say; one whose library is not installed is skipped."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from lookalike import Embedder
from tests.conftest import REPOSITORY


def example(name: str) -> ModuleType:
    """An example as a module."""
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def test_recognise(trained: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "things").symlink_to(pictures / "pictures")
    query = str(pictures / "pictures" / "class 7" / "0.png")
    for told in ("72 pictures enrolled, 0 were there", "0 pictures enrolled, 72 were there"):
        example("recognise").main(str(trained / "inference"), str(tmp_path / "things"), query)
        first, answer, *_ = capsys.readouterr().out.splitlines()
        assert first.startswith(told)
        assert answer.startswith(f"{query}: class 7 (1.00)")


def test_plain_onnxruntime(trained: Path, pictures: Path) -> None:
    picture = str(pictures / "pictures" / "class 6" / "0.png")
    vector = example("plain_onnxruntime").embed(str(trained / "inference"), picture)
    (expected,) = Embedder(trained / "inference", backend="onnx").encode(picture)
    # the same graph; Embedder looks normalised pixels up, here they are computed
    np.testing.assert_allclose(vector, expected, atol=1e-4 * np.abs(expected).max())


def test_with_timm(pictures: Path, tmp_path: Path) -> None:
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    name = "test_efficientnet.r160_in1k"
    save_file(timm.create_model(name, num_classes=0).state_dict(), tmp_path / "weights.safetensors")
    noise = np.random.default_rng(0).integers(0, 256, (12, 9, 3), dtype=np.uint8)
    from PIL import Image

    Image.fromarray(noise).resize((310, 240)).save(tmp_path / "photo.png")
    cosine = example("with_timm").main(
        name, str(tmp_path / "model"), str(tmp_path / "photo.png"), str(tmp_path / "weights.safetensors")
    )
    assert cosine == pytest.approx(1, abs=1e-5)


def test_with_sentence_transformers(trained: Path, pictures: Path) -> None:
    library = pytest.importorskip("sentence_transformers", reason="needs sentence-transformers")
    folder = trained / "inference"
    listed = [str(pictures / "pictures" / f"class {label}" / "0.png") for label in (6, 7, 8)]
    model = library.SentenceTransformer(modules=[example("with_sentence_transformers").Pictures(folder)])
    expected = Embedder(folder).encode(listed)
    # PyTorch and onnxruntime add in another order: as far apart as an export allows
    np.testing.assert_allclose(model.encode(listed), expected, atol=1e-4 * np.abs(expected).max())
    found = library.util.semantic_search(model.encode(listed, convert_to_tensor=True), expected, top_k=1)
    assert [answers[0]["corpus_id"] for answers in found] == [0, 1, 2]


def test_every_example_is_run_here() -> None:
    run = re.findall(r'example\("(\w+)"\)', Path(__file__).read_text(encoding="utf-8"))
    assert {path.stem for path in (REPOSITORY / "examples").glob("*.py")} == set(run)
