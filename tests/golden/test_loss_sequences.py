"""Losses of the reference that remember earlier batches: each call, its gradient, and the memory at last."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from lookalike.loss.memory import RememberingLoss
from tests.golden import golden
from tests.golden.loss_cases import build, is_sequence, missing


@golden.parametrize("losses", missing=missing, only=is_sequence)
def test_sequence(case: dict[str, Any]) -> None:
    """The reference raises where its memory ends with class 0, which it takes for empty; ours goes on."""
    stored = golden.under(golden.arrays("losses"), case["id"])
    answered = len(stored["out/loss"])
    assert answered == len(stored["in/features"]) or case["status"] == "raises"
    loss = build(case)
    assert isinstance(loss, RememberingLoss)
    for step, (features, labels) in enumerate(zip(stored["in/features"], stored["in/labels"], strict=True)):
        given = torch.from_numpy(features).requires_grad_()
        (value,) = loss({"features": given}, torch.from_numpy(labels)).values()
        value.backward()
        assert given.grad is not None
        if step == answered:
            assert int(loss.memory.count) == case["args"]["xbm_size"]
            assert given.grad.isfinite().all()
            break
        golden.assert_close(value.detach(), stored["out/loss"][step], case["rtol"], case["atol"], f"{step}")
        gradient = stored["grad/features"][step]
        atol = max(case["atol"], case["rtol"] * float(np.abs(gradient).max()))
        golden.assert_close(given.grad, gradient, case["rtol"], atol, f"gradient of call {step}")
        assert int(loss.memory.position) == stored["out/bank_ptr_after_step"][step]
    golden.assert_close(loss.memory.features, stored["out/bank_features"], 1e-6, 1e-7, "memory")
    np.testing.assert_array_equal(loss.memory.labels.numpy(), stored["out/bank_labels"])
