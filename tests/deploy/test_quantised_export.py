"""A folder whose graph computes in 8 bits."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from lookalike import ModelFolder, Recipe, export
from lookalike.core.errors import UserError
from lookalike.deploy import quantisation
from lookalike.deploy.export import ExportOptions
from lookalike.deploy.quantisation import QuantisationReport
from tests.deploy.test_export import take_graph_of, values_of
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

    monkeypatch.setattr(quantisation, "quantise_graph", rounded)
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
