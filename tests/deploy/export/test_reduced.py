"""Features of fewer numbers."""

from __future__ import annotations

import numpy as np
import pytest

from lookalike.core.errors import UserError
from lookalike.deploy.export.reduced import Reduction, sizes_to_tell

WIDTH = 12


def features(count: int = 200) -> np.ndarray:
    generator = np.random.default_rng(0)
    spread = generator.normal(size=(count, WIDTH)) * 0.5 ** np.arange(WIDTH)
    return (spread @ np.linalg.qr(generator.normal(size=(WIDTH, WIDTH)))[0]).astype(np.float32)


def test_the_directions_are_those_of_the_definition() -> None:
    given = features()
    reduction = Reduction.pca(given, normalise=False)
    np.testing.assert_allclose(reduction.projection @ reduction.projection.T, np.eye(WIDTH), atol=1e-12)
    _, _, directions = np.linalg.svd(given.astype(np.float64), full_matrices=False)
    np.testing.assert_allclose(np.abs((reduction.projection * directions).sum(axis=1)), 1, atol=1e-9)
    assert (reduction.projection[np.arange(WIDTH), np.abs(reduction.projection).argmax(axis=1)] > 0).all()


def test_so_many_directions_are_learned_as_there_are_pictures() -> None:
    given = features(7)
    reduction = Reduction.pca(given, normalise=False)
    kept = reduction.to(7).apply(given)
    np.testing.assert_allclose(kept @ kept.T, given @ given.T, atol=1e-5)
    assert [size for size in range(1, WIDTH + 1) if reduction.tells(size)] == [*range(1, 8), WIDTH]
    assert reduction.to(WIDTH).size == WIDTH
    assert Reduction.prefix(WIDTH, normalise=False).tells(11)


def test_all_directions_keep_every_similarity() -> None:
    given = features()
    whole = Reduction.pca(given, normalise=False).apply(given)
    np.testing.assert_allclose(whole @ whole.T, given @ given.T, atol=1e-5)


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("kind", ["pca", "prefix"])
def test_a_reduction_is_applied(kind: str, normalise: bool) -> None:
    given = features()
    whole = Reduction.pca(given, normalise) if kind == "pca" else Reduction.prefix(WIDTH, normalise)
    expected = given[:, :5] if kind == "prefix" else given.astype(np.float64) @ whole.projection[:5].T
    if normalise:
        expected = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(whole.to(5).apply(given), expected, atol=1e-6)


def test_sizes_to_tell() -> None:
    assert sizes_to_tell(512, 100) == [32, 64, 100, 128, 256, 512]
    assert sizes_to_tell(20, 8) == [8, 20]
    assert sizes_to_tell(512, 100, [48, 200]) == [48, 100, 200, 512]


def test_what_does_not_fit_is_told() -> None:
    of_seven = Reduction.pca(features(7), normalise=True)
    with pytest.raises(
        UserError, match=r"7 training pictures are too few to learn 8 .*at most 7 .*Matryoshka"
    ):
        of_seven.to(8)
    with pytest.raises(UserError, match="a feature of 12 numbers has no 13 dimensions"):
        Reduction.prefix(WIDTH, normalise=True).to(13)
