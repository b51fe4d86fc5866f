"""Codes of bits, the whole way: trained, scored, exported, searched and embedded alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from lookalike import Embedder, Recipe, evaluate, export, train
from lookalike.deploy.checkpoint_runtime import embedder_of_recipe
from lookalike.deploy.model_folder import ModelFolder
from lookalike.evaluation import binarise
from lookalike.retrieval import evaluate_retrieval
from tests.cli.conftest import Command, _logger_as_it_was, command  # noqa: F401  fixtures
from tests.end_to_end.test_thread import read
from tests.tiny import SIDE, TRAIN_CLASSES, recipe_values

BITS = 32


@pytest.fixture(scope="module")
def values(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A recipe of codes, trained: its best weights, and `scored`, what training said of them."""
    output = tmp_path_factory.mktemp("binary")
    made = recipe_values(pictures, output)
    made["Global"] |= {"feature_normalize": False, "feature_binarize": "sign"}
    made["Arch"]["Neck"]["class_num"] = BITS
    made["Arch"]["Head"] = {"name": "FC", "embedding_size": BITS, "class_num": TRAIN_CLASSES}
    made["scored"] = train(Recipe.from_dict(made)).best_metric
    made["Global"]["pretrained_model"] = str(output / "RecModel" / "best_model")
    return made


def recipe(values: dict[str, Any], **settings: Any) -> Recipe:
    kept = {key: each for key, each in values.items() if key != "scored"}
    return Recipe.from_dict(kept | {"Global": values["Global"] | settings})


@pytest.fixture(scope="module")
def model(values: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    folder = tmp_path_factory.mktemp("model") / "sign"
    export(recipe(values, save_inference_dir=str(folder)))
    return Embedder(folder)


def numbers(model: Embedder, paths: list[str]) -> np.ndarray:
    """What the graph gives before it is binarised."""
    plain = Embedder.of(model.runtime, model.preprocess, model.size, None, model.fingerprint, model.name)
    vectors: np.ndarray = plain.encode(paths)
    return vectors


def bits_by_hand(vectors: np.ndarray, threshold: float) -> list[list[int]]:
    """Bytes of eight numbers each; the first number is the bit that counts 128."""
    return [
        [
            sum(128 >> place for place, number in enumerate(row[start : start + 8]) if number > threshold)
            for start in range(0, len(row), 8)
        ]
        for row in vectors
    ]


def test_a_model_folder_gives_packed_signs(model: Embedder, pictures: Path) -> None:
    folder = ModelFolder.open(model.name)
    assert (folder.binarize, folder.normalized, folder.size) == ("sign", False, BITS)
    paths, _ = read(pictures, "query")
    floats, codes = numbers(model, paths), model.encode(paths)
    assert codes.dtype == np.uint8
    assert codes.shape == (len(paths), BITS // 8)
    assert len(np.unique(codes, axis=0)) > 2, "pictures that all have one code would prove nothing"
    np.testing.assert_array_equal(codes, np.packbits(floats > 0, axis=1))
    assert codes.tolist() == bits_by_hand(floats, 0.0)


def test_what_was_scored_is_what_is_deployed(values: dict[str, Any], model: Embedder, pictures: Path) -> None:
    scored = evaluate(recipe(values))
    assert scored.metrics["recall1"] == values["scored"]
    (queries, truths), (enrolled, labels) = read(pictures, "query"), read(pictures, "gallery")
    codes = [np.unpackbits(model.encode(paths), axis=1) for paths in (queries, enrolled)]
    told = evaluate_retrieval(
        codes[0], truths, codes[1], labels, metrics=("recall@1", "recall@2", "mAP"), binary=True
    )
    # both count whole bits, so that they agree but for the rounding of a mean
    for ours, theirs in (("recall1", "recall@1"), ("recall2", "recall@2"), ("mAP", "mAP")):
        assert scored.metrics[ours] == pytest.approx(told[theirs], abs=1e-9), ours


def test_a_gallery_answers_in_the_order_of_hamming(
    command: Command,  # noqa: F811
    model: Embedder,
    pictures: Path,
    tmp_path: Path,
) -> None:
    enrolled, _ = read(pictures, "gallery")
    queries, _ = read(pictures, "query")
    listed = ("--list", pictures / "gallery.txt", "--root", pictures / "pictures", "--json")
    half = (pictures / "gallery.txt").read_text("utf-8").splitlines()[: len(enrolled) // 2]
    (tmp_path / "half.txt").write_text("\n".join(half) + "\n", "utf-8")
    first = ("--list", tmp_path / "half.txt", "--root", pictures / "pictures", "--json")
    gallery = tmp_path / "codes.gallery"
    assert command("gallery", "create", gallery, "--model", model.name, *first).json()["added"] == len(half)
    added = command("gallery", "add", gallery, *listed).json()
    assert (added["added"], len(added["known"])) == (len(enrolled) - len(half), len(half))

    found = command("search", gallery, *queries, "-k", str(len(enrolled)), "--json").json()["results"]
    codes = {path: int.from_bytes(bytes(code), "big") for path, code in zip(
        [*enrolled, *queries], model.encode([*enrolled, *queries]), strict=True
    )}  # fmt: skip
    for result in found:
        expected = {path: (codes[result["query"]] ^ codes[path]).bit_count() for path in enrolled}
        answers = [answer["path"] for answer in result["answers"]]
        assert sorted(answers) == sorted(enrolled)
        distances = [expected[path] for path in answers]
        assert distances == sorted(distances)
        assert [answer["score"] for answer in result["answers"]] == [1 - each / BITS for each in distances]


DEPLOY = {
    "RecPreProcess": {
        "transform_ops": [
            {"ResizeImage": {"size": [SIDE, SIDE], "return_numpy": False, "interpolation": "bilinear"}},
            {"NormalizeImage": {"scale": "1.0/255.0", "mean": [0.5] * 3, "std": [0.5] * 3, "order": "hwc"}},
            {"ToCHWImage": None},
        ]
    },
    "IndexProcess": {
        "index_method": "Flat",
        "index_dir": "./index",
        "dist_type": "hamming",
        "embedding_size": BITS,
        "hamming_radius": 8,
        "return_k": 5,
    },
}
"""The reference's inference_general_binary.yaml, for tiny pictures."""


@pytest.mark.parametrize("how", ["sign", "round"])
def test_a_deploy_yaml_binarises_a_model_of_numbers(
    command: Command,  # noqa: F811
    how: str,
    trained: Path,
    pictures: Path,
    tmp_path: Path,
) -> None:
    folder = trained / "inference"
    deploy = DEPLOY | {
        "Global": {"rec_inference_model_dir": str(folder), "batch_size": 4, "use_gpu": False},
        "RecPostProcess": {"main_indicator": "Binarize", "Binarize": {"method": how}},
    }
    (tmp_path / "inference_general_binary.yaml").write_text(yaml.safe_dump(deploy), "utf-8")
    paths, _ = read(pictures, "query")
    told = command("embed", "-c", tmp_path / "inference_general_binary.yaml", *paths, "--json").json()
    floats = Embedder(folder).encode(paths)
    codes = [each["vector"] for each in told["vectors"]]
    assert codes == bits_by_hand(floats, 0.0 if how == "sign" else 0.5)
    assert codes == np.packbits(floats > (0 if how == "sign" else 0.5), axis=1).tolist()


def test_a_deploy_yaml_leaves_a_binary_model_as_it_is(
    command: Command,  # noqa: F811
    model: Embedder,
    pictures: Path,
    tmp_path: Path,
) -> None:
    deploy = DEPLOY | {
        "Global": {"rec_inference_model_dir": model.name, "use_gpu": False},
        "RecPostProcess": {"main_indicator": "Binarize", "Binarize": {"method": "sign"}},
    }
    (tmp_path / "deploy.yaml").write_text(json.dumps(deploy), "utf-8")
    paths, _ = read(pictures, "query")
    out = tmp_path / "codes.npz"
    assert command("embed", "-c", tmp_path / "deploy.yaml", *paths, "--out", out).code == 0
    np.testing.assert_array_equal(np.load(out)["vectors"], model.encode(paths))


def test_rounded_features(values: dict[str, Any], pictures: Path, tmp_path: Path) -> None:
    """`round` is meant for features in 0..1: one is a bit from above the half on, as in evaluation."""
    weights = load_file(Path(values["Global"]["pretrained_model"]) / "model.safetensors")
    (last,) = [name for name in weights if name.startswith("neck.") and weights[name].ndim == 2]
    weights[last] *= 100  # trained for a few steps, no number may be above the half
    save_file(weights, tmp_path / "large.safetensors")
    changed = recipe(values, feature_binarize="round", pretrained_model=str(tmp_path / "large"))
    model = embedder_of_recipe(changed)
    assert model.binarize == "round"
    paths, _ = read(pictures, "query")
    floats, codes = numbers(model, paths), model.encode(paths)
    assert (floats > 0.5).any()
    assert (floats < 0.5).any()
    assert codes.tolist() == bits_by_hand(floats, 0.5)
    scored = binarise(torch.from_numpy(floats.clip(0, 1)), "round")
    np.testing.assert_array_equal(np.unpackbits(codes, axis=1) * 2.0 - 1, scored.numpy())
