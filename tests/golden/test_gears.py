"""Necks and heads against the reference: outputs in training and at eval, gradients, buffers after a step."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lookalike.model import build_head, build_neck, from_reference_state, heads, necks, to_reference_key
from lookalike.model.batch_norm import use_biased_running_variance
from lookalike.model.meta_norm import set_mode
from tests.golden import golden


def missing(case: dict[str, Any]) -> str | None:
    return None if case["cls"] in heads or case["cls"] in necks else f"head or neck {case['cls']}"


@golden.parametrize("gears", missing)
def test_gear(case: dict[str, Any]) -> None:
    store = golden.arrays("gears")
    value = {"name": case["cls"], **case["args"]}
    is_head = case["cls"] in heads
    gear = (build_head if is_head else build_neck)(value, reference_behaviour=True)
    use_biased_running_variance(gear)
    arrays = golden.under(store, f"{case['id']}/param")
    report = gear.load_state_dict(from_reference_state(gear, arrays), strict=False)
    assert not report.unexpected_keys
    assert all(key.endswith("num_batches_tracked") for key in report.missing_keys)
    layout = {theirs: (ours, transposed) for ours, (theirs, transposed) in to_reference_key(gear).items()}

    inputs = golden.under(store, f"{case['id']}/in")
    features = torch.from_numpy(inputs["x"]).requires_grad_()
    labels = torch.from_numpy(inputs["label"]) if "label" in inputs else None

    def run() -> Tensor:
        return gear(features, labels) if is_head else gear(features)

    rtol, atol = case["rtol"], case["atol"]
    if case["errors"]:
        # the reference fails without labels; here every head gives the cosine then
        unit = [
            v / np.linalg.norm(v, axis=axis, keepdims=True)
            for v, axis in ((inputs["x"], 1), (arrays["weight"], 0))
        ]
        for mode in (True, False):
            gear.train(mode)
            golden.assert_close(run().detach(), unit[0] @ unit[1], rtol, atol)
        return
    gear.train()
    if case["cls"] == "MetaBNNeck":
        set_mode(gear, case["id"].removeprefix("metabn_"))
    for key in calls(store, case, "train"):
        output = run()
        golden.assert_close(output.detach(), store[key], rtol, atol, key)
    (output * torch.from_numpy(inputs["gout"])).sum().backward()
    slack = case.get("grad_rtol_of_max", rtol)
    assert features.grad is not None
    golden.assert_close_to_max(features.grad, store[f"{case['id']}/grad/x"], slack, "gradient of x")
    parameters = dict(gear.named_parameters())
    for key, expected in golden.under(store, f"{case['id']}/gradparam").items():
        ours, transposed = layout[key]
        gradient = parameters[ours].grad
        assert gradient is not None
        if np.abs(expected).max() > 0:
            golden.assert_close_to_max(
                gradient.t() if transposed else gradient, expected, slack, f"gradient of {key}"
            )
    state = gear.state_dict()
    for key, expected in golden.under(store, f"{case['id']}/train_after").items():
        ours, transposed = layout[key]
        golden.assert_close(state[ours].t() if transposed else state[ours], expected, rtol, atol, key)
    gear.eval()
    for key in calls(store, case, "eval"):
        golden.assert_close(run().detach(), store[key], rtol, atol, key)


def calls(store: Any, case: dict[str, Any], mode: str) -> list[str]:
    """What each call in a mode gave: one, or several where a call changes the next."""
    found = [key for key in store.files if key.startswith(f"{case['id']}/{mode}/")]
    assert found
    return sorted(found)
