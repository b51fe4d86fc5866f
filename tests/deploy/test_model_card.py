"""The model card holds what the manifest says, and its code works as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
import pytest
import yaml

from lookalike import Embedder, ModelFolder
from lookalike.deploy.graph_input import InputKind, before_graph
from lookalike.deploy.model_card import card
from lookalike.deploy.model_folder import GRAPH
from lookalike.deploy.plain_code import plain_code
from lookalike.images import Preprocess
from tests.conftest import REPOSITORY

NORMALISE: dict[str, Any] = {"NormalizeImage": {"order": "hwc"}}


def blocks(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


def test_the_code_on_the_card_gives_the_vector_of_the_embedder(trained: Path, tmp_path: Path) -> None:
    folder = trained / "inference"
    picture = np.random.default_rng(0).integers(0, 256, (45, 61, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "a.jpg"), picture)
    (tmp_path / GRAPH).write_bytes((folder / GRAPH).read_bytes())
    _, code = blocks((folder / "README.md").read_text("utf-8"))
    assert len([line for line in code.splitlines() if line]) <= 12
    saved = f"{code}\nnp.save('features.npy', features)\n"
    subprocess.run([sys.executable, "-c", saved], cwd=tmp_path, check=True)
    (expected,) = Embedder(folder).encode([tmp_path / "a.jpg"])
    np.testing.assert_allclose(np.load(tmp_path / "features.npy")[0], expected, atol=1e-6)


@pytest.mark.parametrize(
    "chain",
    [
        [{"ResizeImage": {"resize_short": 24}}, {"CropImage": {"size": [21, 17]}}, NORMALISE],
        [
            {"Resize": {"size": [24, 20], "interpolation": "area"}},
            {"CenterCrop": {"size": 15}},
            {"ToTensor": None},
        ],
        [{"PadSquare": {"fill": [9, 8, 7]}}, {"ResizeImage": {"size": 24}}, NORMALISE],
        [{"ResizeImage": {"size": 24, "backend": "pil", "interpolation": "bicubic"}}, NORMALISE],
        [
            {"DecodeImage": {"to_rgb": False, "backend": "pil"}},
            {"ToTensor": None},
            {"Normalize": {"std": 0.3}},
        ],
    ],
)
@pytest.mark.parametrize("input", get_args(InputKind))
def test_the_lines_of_each_chain_give_what_the_graph_takes(
    chain: list[Any], input: InputKind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preprocess = Preprocess(chain)
    lines = plain_code(preprocess, input=input, binarize="sign", graph=GRAPH)
    assert lines is not None
    picture = np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("a.jpg", picture)
    code = "\n".join(line for line in lines if "session" not in line and "features" not in line)
    names: dict[str, Any] = {}
    exec(code, names)
    expected = before_graph(preprocess, input)("a.jpg")
    assert names["batch"].dtype == expected.dtype
    assert np.array_equal(names["batch"], expected[None])


def test_a_chain_of_other_steps_has_no_such_lines() -> None:
    scaled = [{"DecodeImage": {"scaled": True}}, {"ResizeImage": {"size": 9}}, NORMALISE]
    for chain in ([{"Pad": {"padding": 2}}, NORMALISE], [NORMALISE, {"CenterCrop": {"size": 9}}], scaled):
        assert plain_code(Preprocess(chain), input="float32_nchw", binarize=None, graph=GRAPH) is None


def test_the_lines_in_the_documents_are_those_of_a_card() -> None:
    chain: list[Any] = [
        {"ResizeImage": {"size": 224}},
        {"NormalizeImage": {"scale": "1.0/255.0", "order": ""}},
    ]
    lines = plain_code(Preprocess(chain), input="float32_nchw", binarize=None, graph=GRAPH)
    assert lines is not None
    assert "\n".join([*lines, ""]) in blocks((REPOSITORY / "docs" / "deployment.md").read_text("utf-8"))


def test_the_code_for_pytorch_in_the_documents(
    trained: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (code,) = [
        each
        for each in blocks((REPOSITORY / "docs" / "deployment.md").read_text("utf-8"))
        if "load_torch" in each
    ]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "inference").symlink_to(trained / "inference")
    (tmp_path / "a.jpg").symlink_to(pictures / "pictures" / "class 6" / "0.png")
    names: dict[str, Any] = {}
    exec(code, names)
    expected = Embedder("inference").encode(["a.jpg"])
    np.testing.assert_allclose(names["features"].detach().numpy(), expected, atol=1e-5)


def test_the_metadata_of_the_hub(trained: Path) -> None:
    opened = ModelFolder.open(trained / "inference")
    for license, expected in (
        (None, {}),
        ("Apache-2.0", {"license": "apache-2.0"}),
        ("ours: all rights", {"license": "other", "license_name": "ours: all rights"}),
    ):
        text = card(vars(opened) | {"license": license}, opened.preprocessing())
        _, metadata, rest = text.split("---\n", 2)
        found = yaml.safe_load(metadata)
        assert found.pop("tags") == ["image-embeddings", "image-retrieval", "onnx"]
        assert found == {"library_name": "lookalike", "pipeline_tag": "image-feature-extraction", **expected}
        assert rest.startswith("\n# Image embedding model")


def test_it_tells_of_all_runtimes(trained: Path) -> None:
    opened = ModelFolder.open(trained / "inference")
    text = (trained / "inference" / "README.md").read_text("utf-8")
    assert "24 pictures (DataLoader.Eval.Query: " in text
    for runtime in opened.parity["runtimes"]:
        recall = f"{100 * runtime['recall1']:.1f} %"
        row = rf"\| {runtime['runtime']} \| [\d.e+-]+ \| [\d.e+-]+ \| 100.0 % \| {recall} \|"
        assert re.search(row, text)
