"""Deployment files of the reference are recipes without Arch and DataLoader."""

from __future__ import annotations

from pathlib import Path

import pytest

from lookalike.core.errors import UserError
from lookalike.recipe import load_recipe

DEPLOY = r"""
Global:
  infer_imgs: "./images/wangzai.jpg"
  rec_inference_model_dir: "./models/general_PPLCNetV2_base_pretrained_v1.0_infer"
  batch_size: 1
  use_gpu: False
  enable_mkldnn: True
  cpu_num_threads: 10
  enable_benchmark: False
  use_fp16: False
  ir_optim: True
  use_tensorrt: False
  gpu_mem: 8000
  enable_profile: False

RecPreProcess:
  transform_ops:
    - ResizeImage:
        size: [224, 224]
        return_numpy: False
        interpolation: bilinear
        backend: cv2
    - NormalizeImage:
        scale: 1.0/255.0
        mean: [0.485, 0.456, 0.406]
        std: [0.229, 0.224, 0.225]
        order: hwc
    - ToCHWImage:

RecPostProcess: null

IndexProcess:
  index_method: "HNSW32"
  image_root: "./gallery/"
  index_dir: "./index"
  data_file: "./gallery/label.txt"
  index_operation: "new"
  delimiter: "\t"
  dist_type: "IP"
  embedding_size: 512
  batch_size: 32
  return_k: 5
  score_thres: 0.5
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "inference_general.yaml"
    path.write_text(DEPLOY)
    return path


def test_a_deployment_file(file: Path) -> None:
    recipe = load_recipe(file, ["rec_inference_model_dir=../inference/inference"])
    assert recipe.global_.rec_inference_model_dir == "../inference/inference"
    assert recipe.global_.infer_imgs == "./images/wangzai.jpg"
    assert recipe.global_.device == "cpu"
    assert recipe.global_.num_threads == 10
    assert recipe.rec_pre_process is not None
    assert [next(iter(op)) for op in recipe.rec_pre_process["transform_ops"]] == [
        "ResizeImage",
        "NormalizeImage",
        "ToCHWImage",
    ]
    assert recipe.rec_post_process is None
    assert recipe.index_process is not None
    assert recipe.index_process.delimiter == "\t"
    assert recipe.index_process.return_k == 5
    assert recipe.data is None
    assert load_recipe(file, ["use_gpu=True"]).global_.device == "gpu"


def test_binary_embeddings(file: Path) -> None:
    recipe = load_recipe(
        file, ["RecPostProcess={Binarize: {method: sign}}", "IndexProcess.dist_type=hamming"]
    )
    assert recipe.rec_post_process == {"Binarize": {"method": "sign"}}


def test_a_detector_is_told_of(file: Path) -> None:
    file.write_text(DEPLOY + "DetPreProcess:\n  transform_ops: []\nDetPostProcess: {}\n")
    assert load_recipe(file, ["threshold=0.2"]).rec_pre_process


def test_mistakes(file: Path) -> None:
    with pytest.raises(
        UserError, match=r"IndexProcess\.dist_type: must be one of 'IP', 'L2' or 'hamming', got 'cosine'"
    ):
        load_recipe(file, ["IndexProcess.dist_type=cosine"])
    with pytest.raises(UserError, match=r"unknown key 'index_metod', did you mean 'index_method'\?"):
        load_recipe(file, ["IndexProcess.index_metod=Flat"])
