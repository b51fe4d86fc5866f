"""Random operations against statistics of the reference.

Its random streams cannot be repeated, so quantiles are compared as those of two samples of one
distribution: at the reference's p-quantile, our sample's distribution function must be p, up to the error
of both samples, 4.5 sqrt(p (1 - p) (1 / n + 1 / m)). (About 400 are compared, so that chance alone would
fail one run in some 350; the seed is fixed.) Brightness may differ by half a level, since interpolation and
rounding of the libraries differ.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from lookalike.data import augmentations
from lookalike.images.operations import operations
from tests.golden import golden

DEVIATIONS = 4.5
FIVE = (0.05, 0.25, 0.5, 0.75, 0.95)
SEVEN = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
PLAIN_MEAN, PLAIN_DEVIATION = 127.0687, 51.5824
"""Of the picture that the operations on 112x112 were given: of the calls that change nothing."""


def _missing(case: dict[str, Any]) -> str | None:
    return None if case["op"] in augmentations or case["op"] in operations else f"operation {case['op']}"


@pytest.fixture(scope="module")
def store() -> Any:
    return golden.arrays("transforms_random")


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return np.asarray(golden.arrays("transforms")["images/in/a"])


@golden.parametrize("transforms_random", _missing)
def test_operation(case: dict[str, Any], store: Any, picture: np.ndarray) -> None:
    operation = augmentations.build(
        {case["op"]: case["args"]}, reference_behaviour=True, black_edge=case.get("returns") == "PIL"
    )
    expected = golden.under(store, f"{case['id']}/stat")
    rng = np.random.default_rng(11)
    if case["op"] == "RandomErasing":
        _check_erasing(case, operation, expected, rng)
    elif "top_histogram" in expected:
        _check_offsets(case, operation, expected, rng)
    elif "image" in case:
        _check_regions(case, operation, expected, rng)
    elif "error" in case:  # the reference fails, so that there is nothing to compare with
        assert operation(picture, rng).dtype == picture.dtype
    else:
        _check_pictures(case, operation, expected, picture, rng)


def _check_pictures(
    case: dict[str, Any],
    operation: Any,
    expected: dict[str, np.ndarray],
    picture: np.ndarray,
    rng: np.random.Generator,
) -> None:
    calls = case["calls"]
    picture = _like_the_one_of_the_set(case, picture)
    before = picture.copy()
    results = [operation(picture, rng) for _ in range(calls)]
    assert np.array_equal(picture, before), "the image that is handed in must stay as it is"
    assert sorted({tuple(r.shape) for r in results}) == sorted(tuple(s) for s in case["shapes"])
    assert {str(r.dtype) for r in results} == set(case["dtypes"])
    assert min(r.min() for r in results) >= case["min"] - 0.5
    assert max(r.max() for r in results) <= case["max"] + 0.5
    changed = np.mean([r.shape != picture.shape or not np.array_equal(r, picture) for r in results])
    _check_share(changed, float(expected["changed"]), calls)
    for name, values in (("mean", [r.mean() for r in results]), ("std", [r.std() for r in results])):
        quantiles = expected[f"{name}_quantiles_5_25_50_75_95"]
        _check_quantiles(np.array(values), quantiles, FIVE, calls, 0.5, name)


def _like_the_one_of_the_set(case: dict[str, Any], picture: np.ndarray) -> np.ndarray:
    """A picture for the cases of 112x112, whose own one the set does not hold.

    What is known of it is its mean and deviation, those of the calls that change nothing. A picture with
    these and as rough as the others has to give the same quantiles.
    """
    if case["op"] not in ("TimmAutoAugment", "RandomInterpolationAugment"):
        return picture
    assert case["shapes"] == [[112, 112, 3]]
    height, width = picture.shape[:2]
    large = np.pad(picture, ((0, 112 - height), (0, 112 - width), (0, 0)), "symmetric").astype(np.float64)
    large = (large - large.mean()) / large.std() * PLAIN_DEVIATION + PLAIN_MEAN
    return np.clip(np.rint(large), 0, 255).astype(np.uint8)


def _check_regions(
    case: dict[str, Any], operation: Any, expected: dict[str, np.ndarray], rng: np.random.Generator
) -> None:
    height, width = case["image"]
    regions = np.array([operation.region(height, width, rng) for _ in range(case["calls"])], np.float64)
    top, left, tall, wide = regions.T
    assert (top.min(), left.min()) >= (0, 0)
    assert (top + tall).max() <= height
    assert (left + wide).max() <= width
    samples = {
        "area_quantiles": tall * wide / (height * width),
        "aspect_w_over_h_quantiles": wide / tall,
        "top_quantiles": top,
        "left_quantiles": left,
    }
    for name, values in samples.items():
        _check_quantiles(values, expected[name], SEVEN, case["calls"], 1e-9, name)


def _check_offsets(
    case: dict[str, Any], operation: Any, expected: dict[str, np.ndarray], rng: np.random.Generator
) -> None:
    height, width = case["image"]
    offsets = np.array([operation.offset(height, width, rng) for _ in range(case["calls"])])
    for axis, name in enumerate(("top_histogram", "left_histogram")):
        theirs = expected[name]
        ours = np.bincount(offsets[:, axis])
        assert len(ours) == len(theirs), "the last place is one past the end"
        assert (np.abs(ours - theirs) <= DEVIATIONS * np.sqrt(ours + theirs)).all()


def _check_erasing(
    case: dict[str, Any], operation: Any, expected: dict[str, np.ndarray], rng: np.random.Generator
) -> None:
    found = re.search(r"image \((\d+), (\d+), (\d+)\) filled with ([\d.]+)", case["note"])
    assert found
    height, width, channels = (int(n) for n in found.groups()[:3])
    plain = np.full((height, width, channels), float(found[4]), np.float32)
    boxes, values = [], set()
    for _ in range(case["calls"]):
        erased = operation(plain, rng)
        gone = erased != plain
        if not gone.any():
            continue
        rows, columns = np.flatnonzero(gone.any((1, 2))), np.flatnonzero(gone.any((0, 2)))
        box = erased[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        boxes.append((rows[0], columns[0], *box.shape[:2]))
        assert gone.sum() == box.size, "one whole rectangle"
        assert len(np.unique(box)) > channels if operation.mode == "pixel" else (box == box[:1, :1]).all()
        values.update(box[0, 0].tolist())
    _check_share(len(boxes) / case["calls"], float(expected["applied"]), case["calls"])
    top, left, tall, wide = np.array(boxes, np.float64).T
    samples = {
        "area_quantiles": tall * wide / (height * width),
        "aspect_h_over_w_quantiles": tall / wide,
        "top_position_quantiles": top / (height - tall),
        "left_position_quantiles": left / (width - wide),
    }
    for name, sample in samples.items():
        _check_quantiles(sample, expected[name], SEVEN, len(sample), 1e-9, name)
    theirs = set(expected["values"].tolist()) - {float(found[4])}  # of one call
    if operation.mode == "const":
        assert values == {float(np.float32(m)) for m in operation.mean}
        assert theirs <= values
    else:
        assert max(abs(v) for v in [*values, *theirs]) < 7, "normal numbers"
        assert np.mean([*values]) == pytest.approx(0, abs=DEVIATIONS / np.sqrt(len(values)))
        assert np.std([*values]) == pytest.approx(1, abs=DEVIATIONS / np.sqrt(2 * len(values)))


def _check_share(ours: float, theirs: float, calls: int) -> None:
    pooled = (ours + theirs) / 2
    assert abs(ours - theirs) <= DEVIATIONS * np.sqrt(pooled * (1 - pooled) * 2 / calls) + 1e-12


def _check_quantiles(
    sample: np.ndarray, quantiles: np.ndarray, shares: tuple[float, ...], calls: int, slack: float, what: str
) -> None:
    for share, quantile in zip(shares, quantiles, strict=True):
        allowed = DEVIATIONS * np.sqrt(share * (1 - share) * (1 / len(sample) + 1 / calls)) + 1 / calls
        below, at_most = np.mean(sample < quantile - slack), np.mean(sample <= quantile + slack)
        assert below - allowed <= share <= at_most + allowed, (
            f"{what}: {below:.3f} below and {at_most:.3f} up to the reference's {share} quantile {quantile:g}"
        )
