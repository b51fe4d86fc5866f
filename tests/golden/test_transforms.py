"""Deterministic image operations against the numbers of the reference."""

from __future__ import annotations

import functools
import importlib
from typing import Any

import numpy as np
import pytest

from lookalike.core.component import Component
from lookalike.core.errors import UserError
from lookalike.images import Preprocess
from lookalike.images.operations import operations
from tests.golden import golden

STORE = functools.cache(lambda: golden.arrays("transforms"))


def _augmentations() -> Any:
    """The registry of random operations, which lives two floors above; None until it exists."""
    try:
        importlib.import_module("lookalike.data.augmentation")
        return importlib.import_module("lookalike.data.registries").augmentations
    except (ImportError, AttributeError):
        return None


def _missing(case: dict[str, Any]) -> str | None:
    name = case.get("op")
    if name is None or name in operations:
        return None
    registry = _augmentations()
    return None if registry is not None and name in registry else f"operation {name}"


class _Forced:
    """Stands in for a generator whose every draw is one that acts, or one that does not."""

    def __init__(self, act: bool) -> None:
        self.act = act

    def random(self) -> float:
        return 0.0 if self.act else 1.0 - 1e-9


def _operate(case: dict[str, Any], which: str) -> np.ndarray:
    name = case["op"]
    store = STORE()
    image: Any = store[f"images/in/{which}"]
    if name == "DecodeImage":
        image = store[f"images/png/{which}"].tobytes()
    # The reference picks Pillow for a Pillow image; here an argument says it, since images are arrays.
    context = {"backend": "pil"} if case.get("returns") == "PIL RGB" else {}
    operation: Any = operations.build({name: case["args"]}, reference_behaviour=True, **context)
    channels_first = getattr(operation, "layout", None) == "chw"
    if name == "Normalize":  # the case was made with the result of ToTensor
        image = operations.build("ToTensor")(image)
    elif channels_first:
        image = np.ascontiguousarray(image.transpose(2, 0, 1))
    return operation(image)


@golden.parametrize("transforms", missing=_missing)
def test_operation(case: dict[str, Any]) -> None:
    if "op" not in case and "chain" not in case:
        return  # the entry that describes the input images
    for which in ("a", "b"):
        if "chain" in case:
            preprocess = Preprocess(case["chain"], reference_behaviour=True)
            actual = preprocess(STORE()[f"images/png/{which}"].tobytes())
        elif case["op"] in operations:
            if case["errors"]:
                _refuses(case, which)
                continue
            actual = _operate(case, which)
        else:
            _flips(case, which)
            continue
        expected = STORE()[f"{case['id']}/out/{which}"]
        assert actual.shape == expected.shape
        assert actual.dtype == expected.dtype
        exact = expected.dtype == np.uint8 or "chain" in case
        # OpenCV and Pillow are the same here as there, so pixels are equal: no tolerance is needed.
        golden.assert_close(actual, expected, rtol=0, atol=0 if exact else case["atol"], what=which)


def _refuses(case: dict[str, Any], which: str) -> None:
    """Where the reference fails in NumPy, here a sentence says what is wrong."""
    operation = operations.build({case["op"]: case["args"]}, reference_behaviour=True)
    with pytest.raises(UserError, match=case["op"]):
        operation(STORE()[f"images/in/{which}"])


def _flips(case: dict[str, Any], which: str) -> None:
    """A random flip gives the reference's flipped image when it flips and the image when it does not."""
    registry = _augmentations()
    flip = registry.build({case["op"]: case["args"]})
    image, expected = STORE()[f"images/in/{which}"], STORE()[f"{case['id']}/out/{which}"]
    unchanged = np.array_equal(image, expected)
    arguments = Component.of({case["op"]: case["args"]}).arguments
    if unchanged and case.get("returns") == "PIL RGB" and arguments.get("flip_code") == -1:
        # The reference turns a Pillow image left-right twice; here every image is turned by 180 degrees.
        np.testing.assert_array_equal(flip(image, _Forced(True)), image[::-1, ::-1])
        return
    np.testing.assert_array_equal(flip(image, _Forced(not unchanged)), expected)
