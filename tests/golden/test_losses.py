"""Every loss of the reference that is one call: value and gradients, those of its own parameters included."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from torch import Tensor

from tests.golden import golden
from tests.golden.loss_cases import Call, build, in_our_layout, is_sequence, missing, our_name
from tests.loss.naive import NAIVE


def _unequal_positives(labels: np.ndarray) -> bool:
    return len(np.unique(np.unique(labels, return_counts=True)[1])) > 1


def _reference_fails(case: dict[str, Any], call: Call) -> bool:
    """Where the reference raises, or mines distances that belong to other anchors."""
    reshapes = case["cls"] in ("TripletLossV2", "TripletAngularMarginLoss")
    return case["status"] == "raises" or (reshapes and _unequal_positives(call.arguments[1].numpy()))


def _naive(case: dict[str, Any], call: Call) -> float:
    features, labels = call.tensors["arg0.features"].detach().double().numpy(), call.arguments[1].numpy()
    return float(
        NAIVE[case["cls"]](features, labels.ravel(), **{**case["args"], "reference_behaviour": True})
    )


def _assert_gradient(actual: Tensor | None, case: dict[str, Any], expected: np.ndarray, name: str) -> None:
    if name in case.get("grad_none", []):
        assert actual is None or not actual.any(), name
        return
    assert actual is not None, name
    atol = max(case["atol"], case["rtol"] * float(np.abs(expected).max()))
    golden.assert_close(actual, expected, case["rtol"], atol, f"gradient of {name}")


@golden.parametrize("losses", missing=missing, only=lambda case: not is_sequence(case))
def test_value_and_gradient(case: dict[str, Any]) -> None:
    loss, call, store = build(case), Call(case), golden.arrays("losses")
    results = call.of(loss)
    total = results["loss"] if "loss" in results else sum(value.sum() for value in results.values())
    total.backward()

    if _reference_fails(case, call):
        np.testing.assert_allclose(total.item(), _naive(case, call), rtol=case["rtol"], atol=case["atol"])
        assert all(value.grad is None or value.grad.isfinite().all() for value in call.tensors.values())
        return

    assert sorted(results) == sorted(case["outputs"])
    for name in case["outputs"]:
        expected = store[f"{case['id']}/out/{name}"]
        golden.assert_close(
            results[name].detach(), expected.reshape(results[name].shape), case["rtol"], case["atol"], name
        )
    for name, value in call.tensors.items():
        if value.is_floating_point():
            _assert_gradient(value.grad, case, store[f"{case['id']}/grad/{name}"], name)
    parameters = dict(loss.named_parameters())
    for name, expected in golden.under(store, f"{case['id']}/gradparam").items():
        _assert_gradient(parameters[our_name(name)].grad, case, in_our_layout(expected, name), name)


@pytest.mark.parametrize("silent", ["TripletLossV2", "TripletAngularMarginLoss"])
def test_reference_really_mines_other_anchors(silent: str) -> None:
    """The exemption above is needed: the reference's answer for unequal counts is not the formula's value."""
    for case in golden.cases("losses"):
        if case["cls"] != silent or case["status"] == "raises":
            continue
        call = Call(case)
        if _unequal_positives(call.arguments[1].numpy()):
            expected = float(golden.arrays("losses")[f"{case['id']}/out/{silent}"])
            assert abs(_naive(case, call) - expected) > 1e-3
