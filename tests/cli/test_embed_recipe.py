"""embed -c: the model, pictures and preprocessing of a recipe, or of the reference's deployment YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from lookalike import Embedder
from lookalike.core.log import forget_warnings
from lookalike.deploy.graph_input import InputKind
from tests.cli.conftest import Command


def test_a_deploy_yaml_of_the_reference(
    command: Command, model: Path, some: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {
        "Global": {
            "infer_imgs": str(some[0].parent),
            "rec_inference_model_dir": str(model),
            "batch_size": 3,
            "use_gpu": False,
            "enable_mkldnn": True,
            "cpu_num_threads": 2,
            "enable_benchmark": False,
            "use_fp16": False,
            "ir_optim": True,
            "use_tensorrt": False,
            "gpu_mem": 8000,
        },
        "RecPreProcess": {
            "transform_ops": [
                {
                    "ResizeImage": {
                        "size": [32, 32],
                        "return_numpy": False,
                        "interpolation": "bilinear",
                        "backend": "cv2",
                    }
                },
                {
                    "NormalizeImage": {
                        "scale": 0.00392157,
                        "mean": [0.5] * 3,
                        "std": [0.5] * 3,
                        "order": "hwc",
                    }
                },
                {"ToCHWImage": None},
            ]
        },
        "RecPostProcess": None,
    }
    file = tmp_path / "inference_rec.yaml"
    file.write_text(yaml.safe_dump(values), encoding="utf-8")
    sizes: list[int] = []
    from lookalike.deploy.runtimes.runtime import OnnxRuntime

    run = OnnxRuntime.__call__
    monkeypatch.setattr(
        OnnxRuntime, "__call__", lambda self, batch: (sizes.append(len(batch)), run(self, batch))[1]
    )
    told = command("embed", "-c", file, "--json").json()
    assert [one["path"] for one in told["vectors"]] == [str(path) for path in some]
    assert sizes == [3, 3, 2]
    vectors = [one["vector"] for one in told["vectors"]]
    np.testing.assert_allclose(vectors, Embedder(model).encode(some), atol=1e-4)
    other = command("embed", "-c", file, "-o", f"Global.infer_imgs={some[2]}")
    assert other.out.startswith("2.png: [")

    values["RecPostProcess"] = {"Binarize": {"method": "sign"}}
    file.write_text(yaml.safe_dump(values), encoding="utf-8")
    bits = command("embed", "-c", file, some[0], "--json").json()["vectors"][0]["vector"]
    expected = np.packbits(Embedder(model).encode(some[0])[0] > 0)
    assert bits == expected.tolist()
    out = tmp_path / "codes.npz"
    assert command("embed", "-c", file, "--folder-labels", "--out", out).code == 0
    with np.load(out) as arrays:
        assert (arrays["vectors"].shape, arrays["vectors"].dtype, int(arrays["bits"])) == (
            (8, 2),
            np.uint8,
            16,
        )
    assert command("eval", "--features", out, "--json").json()["metrics"]["mAP"] == 1.0  # one class
    sentence = command("embed", "-c", file, "-o", "RecPostProcess.Binarize.method=sgin").sentence()
    assert "RecPostProcess.Binarize.method: must be one of 'round' or 'sign', got 'sgin'" in sentence

    values["RecPreProcess"]["transform_ops"][0]["ResizeImage"]["size"] = [48, 48]  # type: ignore[index]
    file.write_text(yaml.safe_dump(values), encoding="utf-8")
    assert "takes pictures of 3x32x32" in command("embed", "-c", file).sentence()


def test_the_model_folder_of_a_deploy_yaml(
    command: Command, model: Path, some: list[Path], tmp_path: Path
) -> None:
    file = tmp_path / "deploy.yaml"
    file.write_text(yaml.safe_dump({"Global": {"infer_imgs": str(some[0])}}), encoding="utf-8")

    def named(folder: Path) -> tuple[str, ...]:
        return ("embed", "-c", str(file), "-o", f"rec_inference_model_dir={folder}")

    plain = command(*named(model))
    assert plain.out.startswith("0.png: [")
    for prefix in ("inference", "model"):  # the prefix of the files in the folder
        assert command(*named(model / prefix)).out == plain.out
    for wrong in (model / "inferense", tmp_path / "inference"):
        told = command(*named(wrong)).sentence()
        assert f"{wrong}: there is no such model folder (Global.rec_inference_model_dir of {file}" in told
    empty = tmp_path / "empty"
    empty.mkdir()
    told = command(*named(empty)).sentence()
    assert "neither a model folder nor a checkpoint" in told
    assert "Global.rec_inference_model_dir" in told
    assert "says which model to use" in command("embed", "-c", file).sentence()


@pytest.mark.parametrize(
    ("post", "warned"),
    [
        ({"main_indicator": "Binarize", "Binarize": {"method": "sign"}}, False),
        ({"main_indicator": "Binarize"}, True),
        ({"main_indicator": "Other", "Binarize": {"method": "sign"}}, True),
        ({"main_indicator": None}, False),
    ],
)
def test_what_has_no_effect_is_warned_of_once(
    command: Command, model: Path, some: list[Path], tmp_path: Path, post: dict[str, object], warned: bool
) -> None:
    values = {
        "Global": {"infer_imgs": str(some[0]), "rec_inference_model_dir": str(model)},
        "RecPostProcess": post,
        "IndexProcess": {"index_method": "Flat"},
    }
    file = tmp_path / "deploy.yaml"
    file.write_text(yaml.safe_dump(values), encoding="utf-8")
    forget_warnings()
    told = command("embed", "-c", file, "--json")
    size = 2 if "Binarize" in post else 16
    assert len(told.json()["vectors"][0]["vector"]) == size
    assert told.err.count("IndexProcess: has no effect") == 1
    assert told.err.count("RecPostProcess.main_indicator: has no effect") == warned


def test_another_preprocessing_is_refused_where_the_graph_has_its_own(
    command: Command, model: Path, some: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    operations = [
        {"ResizeImage": {"size": [40, 40]}},
        {"CropImage": {"size": [32, 32]}},
        {"NormalizeImage": {"scale": "1/255", "mean": [0.5] * 3, "std": [0.5] * 3, "order": "hwc"}},
    ]
    values = {
        "Global": {"infer_imgs": str(some[0]), "rec_inference_model_dir": str(model)},
        "RecPreProcess": {"transform_ops": operations},
    }
    file = tmp_path / "deploy.yaml"
    file.write_text(yaml.safe_dump(values), encoding="utf-8")
    other = command("embed", "-c", file, "--json")
    assert "the recipe's is used" in other.err
    vector = other.json()["vectors"][0]["vector"]
    assert not np.allclose(vector, Embedder(model).encode(some[0])[0], atol=1e-3)

    def on_pixels(self: Embedder, taken: InputKind, *words: Any, **options: Any) -> None:
        opened(self, *words, **options)
        self.geometry = self.preprocess.split().pixels
        assert self.folder is not None
        self.folder.input = taken

    opened = Embedder.__init__
    kinds: list[tuple[InputKind, str]] = [
        ("uint8_nhwc", "is in its graph, so that no other can be used: export the model with it"),
        ("uint8_nhwc_any_size", "is in its graph, so that no other can be used"),
        (
            "float32_nchw",
            "is computed on the GPU by this backend, so that no other can be used",
        ),
    ]
    for taken, told in kinds:

        def of_kind(self: Embedder, *words: Any, taken: InputKind = taken, **options: Any) -> None:
            on_pixels(self, taken, *words, **options)

        monkeypatch.setattr(Embedder, "__init__", of_kind)
        sentence = command("embed", "-c", file).sentence()
        assert sentence.startswith(
            f"{file}: RecPreProcess differs from the preprocessing of {model}: leave it away "
        )
        assert told in sentence
    values["RecPreProcess"] = {"transform_ops": Embedder(model).preprocess.to_json()[1:]}
    file.write_text(yaml.safe_dump(values), encoding="utf-8")
    monkeypatch.undo()
    same = command("embed", "-c", file, "--json")
    assert "differs" not in same.err
    np.testing.assert_allclose(
        same.json()["vectors"][0]["vector"], Embedder(model).encode(some[0])[0], atol=1e-4
    )
