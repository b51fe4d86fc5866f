"""Files written by Paddle itself: every array comes back byte for byte, and a model takes them."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from lookalike.model import build_backbone, load_weights
from lookalike.model.weights.pdparams import read_paddle_object, read_pdparams
from tests.golden import golden

FOLDER = golden.FOLDER / "pdparams"
EXPECTED: dict[str, Any] = golden.content("pdparams/expected.json")
NAMES = sorted(EXPECTED.get("expected", {}))
MODELS = [name for name in NAMES if name.startswith("state_")]
if not NAMES:
    golden.wanting("pdparams/expected.json names no file")
if not NAMES:
    golden.wanting("pdparams/expected.json names no file")
pytestmark = pytest.mark.skipif(not NAMES, reason="no golden numbers")


def flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        items: Any = value.items()
    elif isinstance(value, (list, tuple)):
        items = enumerate(value)
    else:
        yield prefix, value
        return
    for key, inner in items:
        yield from flatten(inner, f"{prefix}/{key}" if prefix else str(key))


@pytest.mark.parametrize("name", NAMES)
def test_every_value(name: str) -> None:
    found = dict(flatten(read_paddle_object(FOLDER / name)))
    for key, expected in EXPECTED["expected"][name].items():
        value = found[key]
        if isinstance(expected, dict) and "crc32" in expected:
            array = np.asarray(value)
            assert list(array.shape) == expected["shape"], key
            assert str(array.dtype) == expected["dtype"], key
            assert zlib.crc32(np.ascontiguousarray(array).tobytes()) == expected["crc32"], key
        else:
            assert repr(value) == expected, key


@pytest.mark.parametrize("name", MODELS)
def test_a_model_takes_the_file(name: str) -> None:
    model = build_backbone(
        {
            "name": EXPECTED["model"],
            "class_expand": EXPECTED["class_expand"],
            "class_num": EXPECTED["class_num"],
        }
    ).eval()
    report = load_weights(model, FOLDER / name)
    assert report.complete, report.table()
    (answer,) = FOLDER.glob("eval_logits_input*.npy")
    written = re.fullmatch(r"eval_logits_input(\d+)_([\dx]+)", answer.stem)
    assert written
    shape = [int(side) for side in written[2].split("x")]
    images = torch.from_numpy(golden.weightgen().inputs(int(written[1]), shape))
    with torch.inference_mode():
        logits = model(images)
    golden.assert_close_to_max(logits, np.load(answer), 2e-4)


def test_loss_parameters_beside_the_model_are_told() -> None:
    model = build_backbone(
        {
            "name": EXPECTED["model"],
            "class_expand": EXPECTED["class_expand"],
            "class_num": EXPECTED["class_num"],
        }
    )
    held = read_pdparams(FOLDER / "latest.pdparams")
    report = load_weights(model, FOLDER / "latest.pdparams")
    assert report.unexpected == [key for key in held if key.startswith("loss_func")]
    assert not report.missing
