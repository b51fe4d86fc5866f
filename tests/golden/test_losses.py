"""Every loss of the reference: value and gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from lookalike.loss import build_loss, losses
from tests.golden import golden
from tests.loss.naive import NAIVE


def _missing(case: dict[str, Any]) -> str | None:
    named = (
        [name for entry in case["args"] for name in entry] if case["cls"] == "CombinedLoss" else [case["cls"]]
    )
    return next((f"loss {name}" for name in named if name not in losses), None)


def _unequal_positives(labels: np.ndarray) -> bool:
    return len(np.unique(np.unique(labels, return_counts=True)[1])) > 1


def _reference_fails(case: dict[str, Any], labels: np.ndarray) -> bool:
    """Where the reference raises, or mines distances that belong to other anchors."""
    reshapes = case["cls"] in ("TripletLossV2", "TripletAngularMarginLoss")
    return case["status"] == "raises" or (reshapes and _unequal_positives(labels))


def _tensors(store: Any, case: dict[str, Any]) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    given = {name: torch.from_numpy(array) for name, array in golden.under(store, f"{case['id']}/in").items()}
    outputs = {name.removeprefix("arg0."): value for name, value in given.items() if name.startswith("arg0.")}
    for value in (*outputs.values(), given["arg1"]):
        value.requires_grad_(value.is_floating_point())
    return outputs, given["arg1"]


def _assert_gradient(actual: torch.Tensor | None, case: dict[str, Any], store: Any, name: str) -> None:
    expected = store[f"{case['id']}/grad/{name}"]
    if name in case.get("grad_none", []):
        assert actual is None or not actual.any(), name
        return
    assert actual is not None, name
    atol = max(case["atol"], case["rtol"] * float(np.abs(expected).max()))
    golden.assert_close(actual, expected, case["rtol"], atol, f"gradient of {name}")


@golden.parametrize("losses", missing=_missing)
def test_value_and_gradient(case: dict[str, Any]) -> None:
    store = golden.arrays("losses")
    outputs, labels = _tensors(store, case)
    if case["cls"] == "CombinedLoss":
        loss = build_loss(case["args"], reference_behaviour=True)
    else:
        loss = losses.build({case["cls"]: case["args"]}, reference_behaviour=True)
    assert not golden.under(store, f"{case['id']}/param"), "the parameters of this loss are to be set here"
    results = loss(outputs, labels)
    total = results["loss"] if "loss" in results else sum(value.sum() for value in results.values())
    total.backward()

    if _reference_fails(case, labels.detach().numpy()):
        naive = NAIVE[case["cls"]](outputs["features"].detach().double().numpy(), labels.numpy().ravel(),
                                   **{**case["args"], "reference_behaviour": True})  # fmt: skip
        np.testing.assert_allclose(total.item(), naive, rtol=case["rtol"], atol=case["atol"])
        assert all(torch.isfinite(value.grad).all() for value in outputs.values() if value.grad is not None)
        return

    assert sorted(results) == sorted(case["outputs"])
    for name in case["outputs"]:
        expected = store[f"{case['id']}/out/{name}"]
        golden.assert_close(
            results[name].detach(), expected.reshape(results[name].shape), case["rtol"], case["atol"], name
        )
    for name, value in outputs.items():
        _assert_gradient(value.grad, case, store, f"arg0.{name}")
    if labels.is_floating_point():
        _assert_gradient(labels.grad, case, store, "arg1")


@pytest.mark.parametrize("silent", ["TripletLossV2", "TripletAngularMarginLoss"])
def test_reference_really_mines_other_anchors(silent: str) -> None:
    """The exemption above is needed: the reference's answer for unequal counts is not the formula's value."""
    for case in golden.cases("losses"):
        if case["cls"] != silent or case["status"] == "raises":
            continue
        store = golden.arrays("losses")
        outputs, labels = _tensors(store, case)
        if _unequal_positives(labels.numpy()):
            naive = NAIVE[silent](outputs["features"].detach().double().numpy(), labels.numpy().ravel(),
                                  **{**case["args"], "reference_behaviour": True})  # fmt: skip
            assert abs(naive - float(store[f"{case['id']}/out/{silent}"])) > 1e-3
