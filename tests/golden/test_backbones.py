"""Backbones against the reference: weights by its keys, outputs at the end and at stop layers."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lookalike.core.errors import UserError
from lookalike.model import backbones, build_backbone, from_reference_state, to_reference_key
from lookalike.model.stop_layers import DOCUMENT_NAMES, cut
from lookalike.model.weights.reference_layout import idle_keys
from tests.golden import golden


def missing(case: dict[str, Any]) -> str | None:
    return None if case["backbone"] in backbones else f"backbone {case['backbone']}"


def generated(case: dict[str, Any]) -> dict[str, np.ndarray]:
    return golden.generated("backbones", case)


def fill(model: nn.Module, arrays: dict[str, np.ndarray]) -> None:
    """Load every array; none may be left over but the idle convolutions, and none may be wanting."""
    state = from_reference_state(model, {k: v for k, v in arrays.items() if k not in idle_keys(model)})
    report = model.load_state_dict(state, strict=False)
    assert not report.unexpected_keys
    assert all(key.endswith("num_batches_tracked") for key in report.missing_keys)


def images(case: dict[str, Any]) -> torch.Tensor:
    batch = golden.weightgen().inputs(case["input_seed"], case["input_shape"])
    np.testing.assert_array_equal(batch.ravel()[:8], np.float32(case["input_first"]))
    return torch.from_numpy(batch)


@golden.parametrize("backbones", missing)
def test_backbone(case: dict[str, Any]) -> None:
    store = golden.arrays("backbones")
    whole = build_backbone({"name": case["backbone"], **case["args"]}, reference_behaviour=True).eval()
    arrays = generated(case)
    layers = [name.split(":")[1] for name in case["outputs"] if ":" in name]
    if "logits" not in case["outputs"]:
        # the numbers are of the network as it is after the cut, without its classifier
        (only,) = set(layers)
        whole = cut(whole, only)
    fill(whole, arrays)
    theirs = {key for key, _, _ in case["state"]}
    assert {key for key, _ in to_reference_key(whole).values()} | idle_keys(whole) == theirs
    batch = images(case)
    found = case.get("stop_found", {})
    for name in case["outputs"]:
        expected = store[f"{case['id']}/out/{name}"]
        _, _, layer = name.partition(":")
        layer, _, form = layer.partition(":")
        model = copy.deepcopy(whole)
        if layer and not found[layer]:
            # the reference only warns of an unknown layer and leaves the network whole; here a backbone may
            # say that it does so too, an old name means what its documents say, any other is an error
            if layer in DOCUMENT_NAMES:
                expected = store[f"{case['id']}/out/stop:{DOCUMENT_NAMES[layer]}"]
            elif layer not in getattr(model, "stop_layer_aliases", {}):
                with pytest.raises(UserError, match=layer):
                    cut(model, layer)
                continue
        if layer:
            model = cut(model, layer)
        if form == "reparam":
            for part in list(model.modules()):
                if part is not model and hasattr(part, "fuse"):
                    part.fuse()
            assert not any("dw_conv_list" in key for key in model.state_dict())
        with torch.inference_mode():
            output = model(batch)
        golden.assert_close_to_max(output.numpy(), expected, case["rtol_of_max"], name)
