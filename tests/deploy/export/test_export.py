"""What `export` writes equals the model it was made of."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import save_file

from lookalike import Embedder, ModelFolder, Recipe, export
from lookalike.core.errors import LookalikeError, UserError
from lookalike.deploy.architecture import load_torch
from lookalike.deploy.calibration import calibrate
from lookalike.deploy.deployed import FromPixels, deployed_module
from lookalike.deploy.export import ExportOptions, ExportResult
from lookalike.deploy.export import from_recipe as export_module
from lookalike.deploy.export.from_recipe import trained_model
from lookalike.deploy.export.graph import write_graph
from lookalike.deploy.model_folder import GRAPH, MANIFEST, PROGRAM, WEIGHTS
from lookalike.deploy.runtimes.runtime import OnnxRuntime
from lookalike.images import Preprocess
from lookalike.images.feature_table import FeatureTable
from lookalike.model import build_backbone, build_model, load_weights
from tests.tiny import SIDE, TRAIN_CLASSES, recipe_values


def values_of(pictures: Path, output: Path, weights: Path | None = None, **settings: Any) -> dict[str, Any]:
    values = recipe_values(pictures, output)
    values["Global"] |= settings
    if weights is not None:
        values["Global"]["pretrained_model"] = str(weights)
    return values


def images(count: int, side: int = SIDE) -> torch.Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(count))


def random_statistics(model: torch.nn.Module) -> None:
    """Weights as after a training: no batch norm is the identity."""
    generator = torch.Generator().manual_seed(7)
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            low, high = (
                (0.5, 1.5) if name.endswith(("running_var", "weight")) and value.ndim == 1 else (-0.2, 0.2)
            )
            value.copy_(torch.rand(value.shape, generator=generator) * (high - low) + low)


def take_graph_of(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Export the graph that is there already, without the time that it takes to trace it."""

    def copied(module: torch.nn.Module, example: torch.Tensor, file: Path) -> None:
        file.write_bytes((trained / "inference" / GRAPH).read_bytes())

    monkeypatch.setattr(export_module, "write_graph", copied)


def test_files_of_a_model_folder(trained: Path) -> None:
    folder = trained / "inference"
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "lookalike.json",
        "model.onnx",
        "model.safetensors",
    ]
    manifest = json.loads((folder / "lookalike.json").read_text(encoding="utf-8"))
    assert (manifest["size"], manifest["shape"], manifest["normalized"]) == (16, [3, SIDE, SIDE], True)
    assert manifest["made_from"]["weights"] == str(trained / "RecModel" / "best_model")
    opened = ModelFolder.open(folder)
    opened.verify()
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert opened.fingerprint in card
    assert "Licence: not stated" in card


@pytest.mark.parametrize("count", [1, 3, 7])
def test_the_graph_equals_the_model_for_any_batch(pictures: Path, trained: Path, count: int) -> None:
    recipe = Recipe.from_dict(values_of(pictures, trained))
    model = build_model(recipe.arch).eval()
    load_weights(model, trained / "RecModel" / "best_model")
    with torch.inference_mode():
        expected = torch.nn.functional.normalize(model(images(count))["features"]).numpy()
    found = OnnxRuntime(trained / "inference" / "model.onnx")(images(count).numpy())
    np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_nothing_of_this_machine_is_in_the_graph(trained: Path) -> None:
    content = (trained / "inference" / "model.onnx").read_bytes()
    for word in (str(Path(export_module.__file__).parent), "site-packages", "stack_trace", "lookalike/"):
        assert word.encode() not in content
    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)


@pytest.mark.parametrize(
    ("arch", "settings", "size", "kind"),
    [
        ({"infer_output_key": "features"}, {}, 16, "normalised"),
        ({"infer_output_key": "features"}, {"feature_normalize": False}, 16, "plain"),
        ({"infer_output_key": None}, {}, 16, "normalised"),
        ({"infer_output_key": "neck"}, {}, 16, "normalised"),
        ({"infer_output_key": "backbone"}, {}, 32, "normalised"),
        ({"infer_output_key": "logits"}, {}, TRAIN_CLASSES, "plain"),
        ({"infer_output_key": "logits", "infer_add_softmax": True}, {}, TRAIN_CLASSES, "softmax"),
        ({"infer_output_key": "features", "infer_add_softmax": True}, {}, 16, "softmax"),
    ],
)
def test_what_is_exported(
    pictures: Path, tmp_path: Path, arch: Any, settings: Any, size: int, kind: str
) -> None:
    values = values_of(pictures, tmp_path, **settings)
    values["Arch"] |= arch
    recipe = Recipe.from_dict(values)
    model = build_model(recipe.arch).eval()
    with torch.inference_mode():
        plain = model(images(3))[arch["infer_output_key"] or "features"].flatten(1)
        found = deployed_module(recipe, model)(images(3))
    expected = {
        "normalised": torch.nn.functional.normalize(plain),
        "plain": plain,
        "softmax": plain.softmax(1),
    }
    assert found.shape == (3, size)
    torch.testing.assert_close(found, expected[kind])
    assert model.head is not None  # the model itself is as it was


def test_what_differs_from_the_recipe_of_the_weights_is_told(
    pictures: Path, tmp_path: Path, trained: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING", logger="lookalike")
    weights = trained / "RecModel" / "best_model"
    values = values_of(pictures, tmp_path, weights, epochs=99, seed=5)
    values["Arch"]["Head"]["margin"] = 0.2
    values["Arch"]["Backbone"]["pretrained"] = False
    trained_model(Recipe.from_dict(values), "features")
    assert caplog.messages == []
    values["Global"]["feature_normalize"] = False
    values["DataLoader"]["Eval"]["Query"]["dataset"]["transform_ops"][1]["NormalizeImage"]["mean"] = [0.4] * 3
    values["Arch"]["Neck"] = {**values["Arch"]["Neck"], "bias_attr": {"learning_rate": 2}}
    trained_model(Recipe.from_dict(values), "logits")
    assert caplog.messages == [
        f"{weights} was trained with other values of Arch.Head.margin, Arch.Neck.bias_attr.learning_rate, "
        "Global.feature_normalize, transform_ops (of RecPreProcess or the evaluation)"
    ]
    (tmp_path / "recipe.yaml").write_text("Arch: [", encoding="utf-8")
    (tmp_path / "model.safetensors").write_bytes((weights / "model.safetensors").read_bytes())
    values["Global"]["pretrained_model"] = str(tmp_path)
    trained_model(Recipe.from_dict(values), "features")
    assert "the recipe it was trained with cannot be compared: " in caplog.messages[-1]


def test_a_network_changed_since_training_has_no_figures(
    pictures: Path, tmp_path: Path, trained: Path
) -> None:
    """They are those of the network that was trained."""
    values = values_of(pictures, tmp_path, trained / "RecModel" / "best_model")
    values["Global"]["feature_normalize"] = not values["Global"].get("feature_normalize", True)
    folder = Path(export(Recipe.from_dict(values)).folder)
    opened = ModelFolder.open(folder)
    assert opened.metrics == opened.metrics_data == {}
    assert opened.made_from["changed_since_training"] == "Global.feature_normalize"
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "changed since training: Global.feature_normalize" in card


def test_an_output_the_model_does_not_have_is_one_sentence(
    pictures: Path, tmp_path: Path, trained: Path
) -> None:
    values = values_of(pictures, tmp_path, trained / "RecModel" / "best_model")
    values["Arch"]["infer_output_key"] = "logit"
    with pytest.raises(UserError, match=r"infer_output_key.*'logit'"):
        export(Recipe.from_dict(values))


def test_joined_branches_of_pplcnet_v2_and_class_scores(pictures: Path, tmp_path: Path) -> None:
    values = values_of(pictures, tmp_path)
    values["Arch"] |= {
        "Backbone": {"name": "PPLCNetV2_small", "class_expand": 32},
        "infer_output_key": "logits",
        "infer_add_softmax": True,
    }
    recipe = Recipe.from_dict(values)
    model = build_model(recipe.arch)
    random_statistics(model)
    model.eval()
    before = sum(1 for _ in model.modules())
    with torch.inference_mode():
        features, expected = model(images(3))["features"], model(images(3))["logits"].softmax(dim=1)
    joined = deployed_module(recipe, model)
    with torch.inference_mode():
        torch.testing.assert_close(
            joined.model(images(3))["features"], features, rtol=1e-4, atol=1e-4 * float(features.abs().max())
        )
    assert sum(1 for _ in joined.modules()) < before == sum(1 for _ in model.modules())

    result = export_module.export_model(recipe, model, tmp_path / "classes", "somewhere")
    assert result.size == TRAIN_CLASSES
    found = OnnxRuntime(tmp_path / "classes" / "model.onnx")(images(3).numpy())
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)
    scores = Embedder(result.folder).encode([pictures / "pictures" / "class 0" / "0.png"])
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-5)


def test_a_timm_network_with_same_padding(pictures: Path, tmp_path: Path) -> None:
    backbone = {"name": "timm/mobilenetv2_100", "pad_type": "same"}
    made = build_backbone(backbone)
    random_statistics(made)
    save_file(made.state_dict(), tmp_path / "weights.safetensors")
    values = values_of(pictures, tmp_path)
    values["Arch"] |= {"Backbone": {**backbone, "pretrained": str(tmp_path / "weights.safetensors")}}
    values["Arch"]["Neck"]["embedding_size"] = 1280
    del values["Arch"]["BackboneStopLayer"]
    values["Arch"]["infer_output_key"] = "backbone"
    values["Global"]["image_shape"] = [3, 33, 47]  # odd sides are where SAME padding differs on both sides
    for part in ("Query", "Gallery"):
        values["DataLoader"]["Eval"][part]["dataset"]["transform_ops"][0]["ResizeImage"]["size"] = [47, 33]
    result = export(Recipe.from_dict(values))
    with torch.inference_mode():
        pixels = torch.randn(5, 3, 33, 47, generator=torch.Generator().manual_seed(1))
        expected = torch.nn.functional.normalize(made.eval()(pixels)).numpy()
    found = OnnxRuntime(Path(result.folder) / "model.onnx")(pixels.numpy())
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_timm_transformer(pictures: Path, tmp_path: Path) -> None:
    values = values_of(pictures, tmp_path)
    values["Arch"] = {
        "name": "RecModel",
        "Backbone": {
            "name": "timm/vit_tiny_patch16_224", "img_size": 32, "embed_dim": 24, "depth": 1, "num_heads": 2,
        },
    }  # fmt: skip
    recipe = Recipe.from_dict(values)
    model = build_model(recipe.arch).eval()
    random_statistics(model)
    result = export_module.export_model(recipe, model, tmp_path / "vit", "somewhere")
    with torch.inference_mode():
        expected = torch.nn.functional.normalize(model(images(3))["features"]).numpy()
    found = OnnxRuntime(tmp_path / "vit" / "model.onnx")(images(3).numpy())
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert result.size == 24


def test_an_export_that_fails_leaves_the_older_folder(
    pictures: Path, tmp_path: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = Recipe.from_dict(values_of(pictures, tmp_path, trained / "RecModel" / "best_model"))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / MANIFEST).write_text("older")

    def full(folder: ModelFolder) -> None:
        raise OSError(28, "full")

    def other(runtime: OnnxRuntime, batch: Any) -> Any:
        return np.zeros((len(batch), 16), np.float32)

    take_graph_of(trained, monkeypatch)
    for owner, name, fault, told in (
        (ModelFolder, "write", full, "full"),
        (OnnxRuntime, "__call__", other, "in onnxruntime differs from the model by 1 of the largest value"),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(owner, name, fault)
            with pytest.raises((OSError, LookalikeError), match=told):
                export(recipe, folder)
        assert [path.name for path in tmp_path.iterdir()] == ["model"]
        assert (folder / MANIFEST).read_text() == "older"


def test_the_fingerprint_is_of_weights_and_preprocessing(trained: Path, tmp_path: Path) -> None:
    opened = ModelFolder.open(trained / "inference")
    for file in (opened.graph_file, opened.weights_file):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    opened.path = tmp_path
    before = opened.computed_fingerprint()
    assert before == opened.fingerprint
    opened.metrics, opened.license, opened.made_from = {"recall1": 1.0}, "MIT", {"recipe": "other"}
    opened.write()
    assert ModelFolder.open(tmp_path).computed_fingerprint() == before
    opened.preprocess[1] = {"ResizeImage": {**next(iter(opened.preprocess[1].values())), "size": [33, 33]}}
    assert opened.computed_fingerprint() != before

    again = ModelFolder.open(trained / "inference")
    again.path = tmp_path
    for change in (
        {"normalized": False},
        {"binarize": "sign"},
        {"output": "backbone"},
        {"shape": [3, 33, 33]},
        {"input": "uint8_nhwc"},
    ):
        before_change = {key: getattr(again, key) for key in change}
        vars(again).update(change)
        assert again.computed_fingerprint() != before
        vars(again).update(before_change)
    assert again.computed_fingerprint() == before
    again.verify()
    for name in (GRAPH, WEIGHTS):
        whole = (tmp_path / name).read_bytes()
        content = bytearray(whole)
        content[len(content) // 2] ^= 1
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=rf"do not fit the fingerprint .*\({name}\)"):
            again.verify()
        (tmp_path / name).write_bytes(whole)
    (tmp_path / WEIGHTS).unlink()  # onnxruntime does not need them
    again.verify()


def test_an_export_never_removes_other_things(pictures: Path, trained: Path, tmp_path: Path) -> None:
    mine = tmp_path / "my pictures"
    mine.mkdir()
    (mine / "a.jpg").write_bytes(b"picture")
    recipe = Recipe.from_dict(recipe_values(pictures, tmp_path))
    recipe.global_.pretrained_model = str(trained / "RecModel" / "best_model")
    with pytest.raises(UserError, match="holds other things than a model folder"):
        export(recipe, mine)
    assert (mine / "a.jpg").read_bytes() == b"picture"


def test_thresholds_stay_with_the_same_model_and_go_with_another(
    pictures: Path,
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    take_graph_of(trained, monkeypatch)
    folder = tmp_path / "inference"
    shutil.copytree(trained / "inference", folder)
    opened = ModelFolder.open(folder)
    vectors = np.random.default_rng(0).normal(size=(40, 16)).astype(np.float32)
    pairs = FeatureTable(vectors, [f"{n}.png" for n in range(40)], np.arange(40) // 2)
    opened.write_thresholds(calibrate(opened.fingerprint, pairs, resamples=5))
    for settings, kept in (({"license": "MIT"}, True), ({"feature_binarize": "sign"}, False)):
        caplog.clear()
        recipe = Recipe.from_dict(
            values_of(pictures, tmp_path, trained / "RecModel" / "best_model", **settings)
        )
        export(recipe, folder, options=ExportOptions(sample=6))
        again = ModelFolder.open(folder)
        assert (again.found_thresholds() is not None) == kept
        assert ("## Thresholds" in (folder / "README.md").read_text("utf-8")) == kept
        assert ("has no thresholds any more" in caplog.text) == (not kept)
        assert ("held another model (" in caplog.text) == (not kept)


def test_the_model_folder_keeps_the_figures_of_its_checkpoint(pictures: Path, trained: Path) -> None:
    opened = ModelFolder.open(trained / "inference")
    assert set(opened.metrics) == {"recall1", "recall2", "mAP"}
    lists = {part: str(pictures / f"{part.lower()}.txt") for part in ("Query", "Gallery")}
    assert opened.metrics_data == {f"DataLoader.Eval.{part}": file for part, file in lists.items()}
    # which epoch is the best one hangs on the last bits of sums, which threads change
    best = trained / "RecModel" / "best_model" / "state" / "training.json"
    *_, kept = json.loads(best.read_text("utf-8"))["history"]
    assert opened.metrics == kept["eval"]
    assert opened.made_from["epochs"] == kept["epoch"] in (1, 2)
    assert opened.made_from["trained_on"] == str(pictures / "train.txt")
    assert f"| mAP | {opened.metrics['mAP']:.4f} |" in (trained / "inference" / "README.md").read_text(
        "utf-8"
    )


def test_weights_that_leave_the_feature_random_are_refused(
    pictures: Path, trained: Path, tmp_path: Path
) -> None:
    values = recipe_values(pictures, tmp_path)
    values["Arch"]["Neck"]["class_num"] = values["Arch"]["Head"]["embedding_size"] = 8
    recipe = Recipe.from_dict(values)
    recipe.global_.pretrained_model = str(trained / "RecModel" / "best_model")
    with pytest.raises(UserError, match=r"weights that this model computes with .*neck\.fc"):
        export(recipe, tmp_path / "out")


@pytest.fixture(scope="module")
def of_pixels(pictures: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> ExportResult:
    recipe = Recipe.from_dict(
        values_of(pictures, tmp_path_factory.mktemp("pixels"), trained / "RecModel" / "best_model")
    )
    return export(recipe, options=ExportOptions("uint8_nhwc", program=True, sample=6))


def test_a_graph_of_pixels_gives_the_same_features(
    pictures: Path, trained: Path, of_pixels: ExportResult
) -> None:
    opened, floats = ModelFolder.open(of_pixels.folder), ModelFolder.open(trained / "inference")
    assert (opened.input, opened.shape) == ("uint8_nhwc", floats.shape)
    assert opened.preprocess == floats.preprocess
    assert opened.fingerprint != floats.fingerprint
    files = [pictures / "pictures" / "class 6" / f"{number}.png" for number in range(3)]
    whole = opened.preprocessing()
    before = np.stack([whole.split().pixels(file) for file in files])
    expected = OnnxRuntime(floats.graph_file)(np.stack([whole(file) for file in files]))
    # the pixels are the same to the last bit; what remains is the order of sums in the network
    np.testing.assert_allclose(OnnxRuntime(opened.graph_file)(before), expected, atol=1e-6)
    np.testing.assert_allclose(Embedder(opened.path).encode(files), expected, atol=1e-6)
    with torch.inference_mode():
        np.testing.assert_allclose(load_torch(opened)(torch.from_numpy(before)), expected, atol=1e-5)


def test_the_arithmetic_in_a_graph_is_that_of_the_preprocessing_to_the_last_bit(tmp_path: Path) -> None:
    chain: list[Any] = [{"DecodeImage": {"to_rgb": False}}, {"NormalizeImage": {"order": "hwc"}}]
    faces: list[Any] = [{"ToTensor": None}, {"Normalize": {"mean": [0.5, 0.4, 0.3], "std": 0.3}}]
    levels = np.arange(256, dtype=np.uint8)
    pixels = np.stack([levels, levels[::-1], np.roll(levels, 9)], axis=1).reshape(16, 16, 3)
    for preprocess in (Preprocess(chain), Preprocess(faces)):
        module = FromPixels(torch.nn.Identity(), preprocess.split().arithmetic)
        write_graph(module, torch.from_numpy(np.stack([pixels] * 2)), tmp_path / GRAPH)
        found = OnnxRuntime(tmp_path / GRAPH)(pixels[None])
        assert np.array_equal(found[0], preprocess(pixels))
        assert np.array_equal(module(torch.from_numpy(pixels[None]))[0].numpy(), preprocess(pixels))


def test_a_program_of_torch_export_holds_no_pickle_and_nothing_of_this_machine(
    of_pixels: ExportResult,
) -> None:
    assert [each["runtime"] for each in of_pixels.parity["runtimes"]] == [
        "onnxruntime",
        "torch",
        "torch.export",
    ]
    with zipfile.ZipFile(Path(of_pixels.folder) / PROGRAM) as archive:
        for name in archive.namelist():
            content = archive.read(name)
            # weights are raw numbers, which may begin with any byte: a pickle tells its protocol next
            assert not content.startswith((*(bytes([0x80, protocol]) for protocol in range(2, 6)), b"PK"))
            assert b"site-packages" not in content
            assert str(Path(export_module.__file__).parent).encode() not in content
            if name.endswith("_config.json"):
                assert b'"use_pickle": true' not in content


def test_a_further_runtime_is_tried_too(
    pictures: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    take_graph_of(trained, monkeypatch)
    recipe = Recipe.from_dict(values_of(pictures, tmp_path, trained / "RecModel" / "best_model"))
    result = export(recipe, options=ExportOptions(sample=6, runtimes=["openvino"]))
    names = [each["runtime"] for each in result.parity["runtimes"]]
    assert names == ["onnxruntime", "openvino", "torch"]
    assert result.parity["runtimes"][1]["largest_angle"] < 1e-6
