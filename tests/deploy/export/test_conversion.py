"""A folder whose graph computes in 8 bits, has weights of 16 bits, or gives fewer numbers."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from lookalike import Embedder, Gallery, ModelFolder, Recipe, export
from lookalike.core.errors import LookalikeError, UserError
from lookalike.deploy.export import ExportOptions, conversion
from lookalike.deploy.proof.parity import LIMITS, Limit
from lookalike.deploy.quantisation import QuantisationReport
from tests.deploy.export.test_export import take_graph_of, values_of
from tests.tiny import SIDE


def test_a_graph_in_8_bits_says_what_it_costs(
    pictures: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[np.ndarray] = []
    report = QuantisationReport(30, {"conv_1": 0.01}, 2, "mean", 7, 18, 0.012, 0.03, 1.0)

    def rounded(graph: Path, out: Path, batches: Iterable[np.ndarray]) -> QuantisationReport:
        """What the real one does to a network that saw so few batches is nothing to test an export with."""
        assert graph == out
        seen.extend(batches)
        return report

    monkeypatch.setattr(conversion, "quantise_graph", rounded)
    take_graph_of(trained, monkeypatch)
    recipe = Recipe.from_dict(values_of(pictures, tmp_path, trained / "RecModel" / "best_model"))
    result = export(recipe, options=ExportOptions(quantize=True, calibration=24, sample=6))
    opened = ModelFolder.open(result.folder)
    opened.verify()
    assert np.concatenate(seen).shape == (24, 3, SIDE, SIDE)
    assert (result.precision, opened.precision) == ("int8", "int8")
    assert opened.quantisation["kept_float"] == {"conv_1": 0.01}
    card = (opened.path / "README.md").read_text("utf-8")
    assert "## 8 bits\n\n- 30 layers with 8-bit activations" in card
    values = values_of(pictures, tmp_path, trained / "RecModel" / "best_model")
    del values["DataLoader"]["Train"]
    with pytest.raises(UserError, match=r"there is no DataLoader\.Train"):
        export(Recipe.from_dict(values), options=ExportOptions(quantize=True))


@pytest.mark.parametrize(("precision", "named"), [("fp16", "float16"), ("bf16", "bfloat16")])
def test_weights_of_16_bits(
    pictures: Path,
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    precision: Any,
    named: str,
) -> None:
    take_graph_of(trained, monkeypatch)
    recipe = Recipe.from_dict(values_of(pictures, tmp_path, trained / "RecModel" / "best_model"))
    options = ExportOptions(precision=precision, sample=6)
    monkeypatch.setitem(LIMITS, named, Limit("largest_angle", 1e-9))
    with pytest.raises(
        LookalikeError, match=r"in onnxruntime differs from the model by .* \(allowed 1e-09\)"
    ):
        export(recipe, options=options)
    assert list(tmp_path.iterdir()) == []
    # a network that learned two epochs has batch norms that 8 bits of a number are few for
    monkeypatch.setitem(LIMITS, named, Limit("largest_angle", 0.2))
    opened = ModelFolder.open(export(recipe, options=options).folder)
    assert opened.precision == named
    assert opened.graph_file.stat().st_size < 0.75 * (trained / "inference" / "model.onnx").stat().st_size
    assert "not this graph" in opened.metrics_data["model"]
    assert f"weights held in {precision}" in (opened.path / "README.md").read_text("utf-8")


def test_fewer_numbers(pictures: Path, trained: Path, tmp_path: Path) -> None:
    recipe = Recipe.from_dict(values_of(pictures, tmp_path, trained / "RecModel" / "best_model"))
    result = export(recipe, options=ExportOptions(size=4))
    opened = ModelFolder.open(result.folder)
    assert (result.size, opened.size) == (4, 4)
    files = sorted((pictures / "pictures" / "class 7").iterdir())
    whole, reduced = (Embedder(folder).encode(files) for folder in (trained / "inference", result.folder))
    np.testing.assert_allclose(np.linalg.norm(reduced, axis=1), 1, atol=1e-5)
    training = sorted(
        file for label in range(6) for file in (pictures / "pictures" / f"class {label}").iterdir()
    )
    features = Embedder(trained / "inference").encode(training).astype(np.float64)
    directions = np.linalg.eigh(features.T @ features)[1][:, ::-1][:, :4]
    expected = whole @ directions
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    # a direction may point either way, which inner products do not see
    np.testing.assert_allclose(reduced @ reduced.T, expected @ expected.T, atol=1e-4)
    assert "| 4 | " in (opened.path / "README.md").read_text("utf-8")
    for size, told in ((16, "must be 1 … 15"), (0, "must be 1 … 15")):
        with pytest.raises(UserError, match=told):
            export(recipe, options=ExportOptions(size=size))


def test_fewer_training_pictures_than_a_feature_has_numbers(
    pictures: Path, trained: Path, tmp_path: Path
) -> None:
    values = values_of(pictures, tmp_path / "run", trained / "RecModel" / "best_model")
    dataset = values["DataLoader"]["Train"]["dataset"]
    lines = Path(dataset["cls_label_path"]).read_text(encoding="utf-8").splitlines()
    few = tmp_path / "few.txt"
    few.write_text("\n".join(lines[:6]) + "\n", encoding="utf-8")
    dataset["cls_label_path"] = str(few)
    recipe = Recipe.from_dict(values)
    with pytest.raises(UserError, match=r"6 training pictures are too few to learn 7 .* \(--dim 6\)"):
        export(recipe, options=ExportOptions(size=7))
    assert list(tmp_path.iterdir()) == [few]
    card = (Path(export(recipe, options=ExportOptions(size=6)).folder) / "README.md").read_text("utf-8")
    assert "The first 6 of 16 directions in which the features of 6 training pictures vary most." in card


def matryoshka_values(pictures: Path, output: Path, weights: Path, **loss: Any) -> dict[str, Any]:
    """The recipe of the tiny run, as if MatryoshkaLoss had trained it."""
    values = values_of(pictures, output, weights)
    entry = {"loss": {"TripletLossV2": {"margin": 0.3}}, "sizes": [8, 4, 16], **loss}
    values["Loss"]["Train"] = [{"CELoss": {}}, {"MatryoshkaLoss": entry}]
    return values


def test_the_first_numbers_after_a_matryoshka_loss(
    pictures: Path, trained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    weights = tmp_path / "weights.safetensors"  # beside no recipe that says otherwise
    shutil.copy(trained / "RecModel" / "best_model" / "model.safetensors", weights)
    values = matryoshka_values(pictures, tmp_path / "run", weights)
    del values["DataLoader"]["Train"]  # nothing is learned
    caplog.set_level("INFO", logger="lookalike")
    result = export(Recipe.from_dict(values), options=ExportOptions(size=4, program=True))
    assert "--dim 4: the first 4 numbers of a feature, as MatryoshkaLoss trained them" in caplog.text
    opened = ModelFolder.open(result.folder)
    opened.verify()
    assert (result.size, opened.size, opened.architecture["first"]) == (4, 4, 4)
    whole = ModelFolder.open(trained / "inference")
    assert opened.fingerprint != whole.fingerprint
    assert sorted(load_file(opened.weights_file)) == sorted(load_file(whole.weights_file))
    card = (opened.path / "README.md").read_text("utf-8")
    assert "The first 4 numbers of a feature of 16, which MatryoshkaLoss trained at 4, 8, 16." in card
    assert [row.split(" ")[1] for row in card.splitlines() if row.startswith("| ") and "%" in row][-3:] == [
        "4",
        "8",
        "16",
    ]
    files = sorted((pictures / "pictures" / "class 7").iterdir())
    full, short = (Embedder(folder).encode(files) for folder in (whole.path, opened.path))
    expected = full[:, :4] / np.linalg.norm(full[:, :4], axis=1, keepdims=True)
    np.testing.assert_allclose(short, expected, atol=1e-5)
    gallery = Gallery.create(tmp_path / "tiny.gallery", Embedder(opened.path))
    gallery.add(files, ["seven"] * len(files))
    assert gallery.search(files[0], k=1)[0].score == pytest.approx(1, abs=1e-5)


def test_a_size_that_was_not_trained_is_told(
    pictures: Path,
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    weights = tmp_path / "weights.safetensors"
    shutil.copy(trained / "RecModel" / "best_model" / "model.safetensors", weights)
    recipe = Recipe.from_dict(matryoshka_values(pictures, tmp_path / "run", weights))
    export(recipe, options=ExportOptions(size=5))
    assert (
        "--dim 5: the first 5 numbers of a feature, which MatryoshkaLoss did not train: it trained 4, 8, 1"
        in (caplog.text)
    )


def test_the_sizes_are_those_of_the_output_that_is_exported(
    pictures: Path, trained: Path, tmp_path: Path
) -> None:
    weights = tmp_path / "weights.safetensors"

    def sizes(key: str, head_reads: str = "neck", **loss: Any) -> list[int]:
        values = matryoshka_values(pictures, tmp_path, weights, **loss)
        values["Arch"]["head_feature_from"] = head_reads
        return conversion.trained_sizes(Recipe.from_dict(values), key)

    of_backbone = {"TripletLossV2": {"feature_from": "backbone"}}
    assert sizes("features") == sizes("neck") == sizes("features", loss="CELoss") == [4, 8, 16]
    assert sizes("backbone") == sizes("features", loss=of_backbone) == []
    assert sizes("backbone", loss=of_backbone) == [4, 8, 16]
    assert sizes("backbone", "backbone", loss="CELoss") == [4, 8, 16]
    assert sizes("features", "backbone", loss="CELoss") == []
    # the recipe beside the weights knows how they were trained, whatever is exported with
    beside = matryoshka_values(pictures, tmp_path, trained / "RecModel" / "best_model")
    assert conversion.trained_sizes(Recipe.from_dict(beside), "features") == []
