"""Features of fewer numbers, in NumPy and in the graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from lookalike.core.errors import UserError
from lookalike.deploy.export.reduced import Reduction, figures_by_size, reduce_graph, sizes_to_tell
from lookalike.deploy.runtimes.runtime import OnnxRuntime

WIDTH = 12


def features(count: int = 200) -> np.ndarray:
    generator = np.random.default_rng(0)
    spread = generator.normal(size=(count, WIDTH)) * 0.5 ** np.arange(WIDTH)
    return (spread @ np.linalg.qr(generator.normal(size=(WIDTH, WIDTH)))[0]).astype(np.float32)


def graph(folder: Path) -> Path:
    """Pictures (N, 3, 2, 2), flattened: features (N, 12)."""
    made = helper.make_graph(
        [helper.make_node("Reshape", ["images", "rows"], ["features"], name="flat")], "flatten",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 2, 2])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", WIDTH])],
        [numpy_helper.from_array(np.array([-1, WIDTH]), "rows")],
    )  # fmt: skip
    file = folder / "whole.onnx"
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), file)
    return file


def test_the_directions_are_those_of_the_definition() -> None:
    given = features()
    reduction = Reduction.pca(given, normalise=False)
    np.testing.assert_allclose(reduction.projection @ reduction.projection.T, np.eye(WIDTH), atol=1e-12)
    _, _, directions = np.linalg.svd(given.astype(np.float64), full_matrices=False)
    np.testing.assert_allclose(np.abs((reduction.projection * directions).sum(axis=1)), 1, atol=1e-9)
    assert (reduction.projection[np.arange(WIDTH), np.abs(reduction.projection).argmax(axis=1)] > 0).all()


def test_all_directions_keep_every_similarity() -> None:
    given = features()
    whole = Reduction.pca(given, normalise=False).apply(given)
    np.testing.assert_allclose(whole @ whole.T, given @ given.T, atol=1e-5)


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("kind", ["pca", "prefix"])
def test_the_graph_gives_the_reduced_feature(tmp_path: Path, kind: str, normalise: bool) -> None:
    given = features()
    whole = Reduction.pca(given, normalise) if kind == "pca" else Reduction.prefix(WIDTH, normalise)
    reduction = whole.to(5)
    reduce_graph(graph(tmp_path), tmp_path / "small.onnx", reduction)
    onnx.checker.check_model(onnx.load(tmp_path / "small.onnx"), full_check=True)
    found = OnnxRuntime(tmp_path / "small.onnx")(given[:7].reshape(7, 3, 2, 2))
    np.testing.assert_allclose(found, reduction.apply(given[:7]), atol=1e-6)
    expected = given[:7].astype(np.float64) @ reduction.projection.T
    if normalise:
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_figures_are_told_for_each_size() -> None:
    given = features()
    reduction = Reduction.pca(given, normalise=False)
    assert sizes_to_tell(512, 100) == [32, 64, 100, 128, 256, 512]
    assert sizes_to_tell(20, 8) == [8, 20]

    def kept(reduce: object) -> dict[str, float]:
        assert callable(reduce)
        return {"kept": float((reduce(given) ** 2).sum() / (given**2).sum())}

    found = figures_by_size(reduction, [1, 4, WIDTH], kept)
    assert found[1]["kept"] < found[4]["kept"] < found[WIDTH]["kept"]
    assert found[WIDTH]["kept"] == pytest.approx(1, abs=1e-6)


def test_what_does_not_fit_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="11 of them are too few, give at least 12"):
        Reduction.pca(features(11), normalise=True)
    with pytest.raises(UserError, match="a feature of 12 numbers has no 13 dimensions"):
        Reduction.prefix(WIDTH, normalise=True).to(13)
    with pytest.raises(UserError, match="gives 12 numbers and the reduction was learned on features of 8"):
        reduce_graph(graph(tmp_path), tmp_path / "small.onnx", Reduction.prefix(8, normalise=True))
    assert not (tmp_path / "small.onnx").exists()
