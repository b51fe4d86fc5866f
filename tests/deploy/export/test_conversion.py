"""A folder whose graph computes in 8 bits, has weights of 16 bits, or gives fewer numbers."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lookalike import Embedder, ModelFolder, Recipe, export
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
    report = QuantisationReport(30, {"conv_1": 0.01}, 2, "mean", 7, 18, 0.012, 0.03, None, None, 1.0)

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
