"""Weights after each update, against the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from lookalike.training.optimizers import build_optimizer, optimizers
from tests.golden import golden

EPOCHS, STEPS_PER_EPOCH = 4, 3
"""Of the run that the numbers come from: its rates rise in thirds, then begin nine cosine steps."""


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(5, 4)
        self.norm = nn.LayerNorm(4)
        self.blocks = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
        self.fc2 = nn.Linear(4, 3)


def _names(case: dict[str, Any]) -> list[str]:
    if isinstance(case["args"], list):
        return [name for entry in case["args"] for name in entry]
    return [case["args"]["name"]]


def _missing(case: dict[str, Any]) -> str | None:
    return next((f"optimizer {name}" for name in _names(case) if name not in optimizers), None)


def _as_paddle(array: np.ndarray, name: str) -> np.ndarray:
    """Linear weights are [in, out] in the reference, the transpose of torch's."""
    return array.T if array.ndim == 2 and name.endswith("weight") else array


def _updates(
    case: dict[str, Any], store: Any, reference_behaviour: bool
) -> tuple[dict[str, list[np.ndarray]], list[float]]:
    net = Net()
    parameters = dict(net.named_parameters())
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(torch.tensor(_as_paddle(store[f"{case['id']}/w0/{name}"], name)))
    for name, multiplier in case.get("lr_multiplier", {}).items():
        parameters[name].lr_multiplier = multiplier  # type: ignore[attr-defined]
    gradients = golden.under(store, f"{case['id']}/in")
    count = len(gradients["grad.fc1.weight"])
    rates, weights = [], {name: [] for name in parameters}
    stepper = build_optimizer(
        case["args"],
        net,
        epochs=EPOCHS,
        steps_per_epoch=STEPS_PER_EPOCH,
        reference_behaviour=reference_behaviour,
    )
    for step in range(count):
        for name, parameter in parameters.items():
            parameter.grad = torch.tensor(_as_paddle(gradients[f"grad.{name}"][step], name))
        rates += stepper.learning_rate
        stepper.step()
        stepper.zero_grad()
        stepper.schedule_step()
        for name, parameter in parameters.items():
            weights[name].append(_as_paddle(parameter.detach().numpy(), name).copy())
    return weights, rates


@golden.parametrize("optimizers", missing=_missing)
def test_weights(case: dict[str, Any]) -> None:
    store = golden.arrays("optimizers")
    weights, rates = _updates(case, store, reference_behaviour=True)
    if case["status"] == "raises":
        # the reference refuses a missing decay; what is left out is not done
        filled = {"weight_decay": 0.0, **case["args"]}
        expected, _ = _updates({**case, "args": filled}, store, reference_behaviour=True)
        for name, values in weights.items():
            np.testing.assert_allclose(values, expected[name])
            assert np.isfinite(values).all()
            assert not np.array_equal(values[-1], store[f"{case['id']}/w0/{name}"])
        return
    for name, values in weights.items():
        golden.assert_close(values, store[f"{case['id']}/out/{name}"], case["rtol"], case["atol"], name)
    lr = golden.under(store, case["id"]).get("in/lr")
    if lr is not None:
        golden.assert_close(rates, lr, 1e-6, 1e-12, "learning rates")
