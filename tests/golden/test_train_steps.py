"""Short training runs of the reference's recipes: losses, rates, gradients and the way that the weights went."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lookalike.loss import CombinedLoss, build_loss, losses
from lookalike.model import RecModel, to_reference_key
from lookalike.training.optimizers import Optimizers, build_optimizer, optimizers
from tests.golden import golden
from tests.golden.reference_arch import build, missing_part

FIRST_LOSS, FIRST_GRADIENT, LATER = 1e-4, 1e-3, 2e-2
"""What the golden set allows: of the loss at step 0, of a gradient's norm there, and of the steps that follow."""


def _names(section: Any) -> list[str]:
    entries = section if isinstance(section, list) else [section]
    return [entry["name"] if "name" in entry else next(iter(entry)) for entry in entries]


def missing(case: dict[str, Any]) -> str | None:
    unknown = [f"loss {name}" for name in _names(case["loss"]) if name not in losses]
    unknown += [f"optimizer {name}" for name in _names(case["optimizer"]) if name not in optimizers]
    return missing_part(case) or next(iter(unknown), None)


def _optimizer_section(case: dict[str, Any]) -> Any:
    """The section with the `Optimizer.lr.…=n` among the overrides, which the case holds already."""
    for override in case["overrides"]:
        path, _, value = override.partition("=")
        section, *keys = path.split(".")
        if section == "Optimizer":
            found = case["optimizer"]
            for key in keys:
                found = found[key]
            assert found == int(value)
    return case["optimizer"]


class Run:
    """A model with its losses and optimizers, and the numbers of its steps by the reference's names."""

    def __init__(self, case: dict[str, Any]) -> None:
        self.case = case
        self.model: RecModel = build("train_steps", case)
        for module in self.model.modules():
            if "Dropout" in type(module).__name__:
                module.p = 0.0  # type: ignore[assignment]
        self.loss: CombinedLoss = build_loss(case["loss"], reference_behaviour=True)
        generator = golden.weightgen()
        for key, shape in case["loss_parameters"]:
            *_, term, name = key.split(".")
            with torch.no_grad():
                parameter: Any = getattr(self.loss.terms[int(term)], name)
                parameter.copy_(torch.from_numpy(generator.gen(key, shape, golden.salt("train_steps"))))
        self.optimizers: Optimizers = build_optimizer(
            _optimizer_section(case),
            self.model,
            self.loss,
            epochs=case["epochs"],
            steps_per_epoch=case["step_each_epoch"],
            reference_behaviour=True,
        )
        self.keys = to_reference_key(self.model)

    def step(self, images: Tensor, labels: Tensor) -> tuple[dict[str, float], dict[str, float]]:
        """One update; the losses before it, and the norms of the gradients."""
        results = self.loss(self.model(images, labels), labels)
        results["loss"].backward()
        norms = {
            self.keys[name][0]: float(parameter.grad.norm())
            for name, parameter in self.model.named_parameters()
            if parameter.grad is not None
        }
        self.optimizers.step()
        self.optimizers.zero_grad()
        self.optimizers.schedule_step()
        return {name: float(value.detach()) for name, value in results.items()}, norms

    def state(self) -> dict[str, np.ndarray]:
        state = self.model.state_dict()
        return {
            theirs: (state[ours].t() if transposed else state[ours]).numpy().astype(np.float64)
            for ours, (theirs, transposed) in self.keys.items()
        }


@golden.parametrize("train_steps", missing=missing)
def test_train_steps(case: dict[str, Any]) -> None:
    store = golden.arrays("train_steps")
    expected = golden.under(store, case["id"])
    run = Run(case)
    run.model.train()
    before = run.state()
    generator = golden.weightgen()
    tolerance = max(LATER, case["rtol"])
    for step in range(case["T"]):
        images = torch.from_numpy(generator.inputs(case["input_seed"] + step, case["input_shape"]))
        labels = torch.from_numpy(expected["in/labels"][step])
        golden.assert_close(run.optimizers.learning_rate, expected["out/lr"][step], 1e-6, 1e-12, f"rate {step}")
        values, norms = run.step(images, labels)
        for name, value in values.items():
            allowed = FIRST_LOSS if step == 0 else tolerance
            golden.assert_close(value, expected[f"out/{name}"][step], allowed, 1e-6, f"{name} at step {step}")
        if step == 0:
            _assert_gradients(norms, dict(zip(case["parameters"], expected["grad_norm/values"], strict=True)))
        assert set(values) == {name.removeprefix("out/") for name in expected if name.startswith("out/")} - {"lr"}
    _assert_weights(before, run.state(), case, expected)


def _assert_gradients(norms: dict[str, float], expected: dict[str, float]) -> None:
    largest = max(expected.values())
    for key, value in expected.items():
        golden.assert_close(norms.get(key, 0.0), value, FIRST_GRADIENT, FIRST_GRADIENT * 1e-3 * largest, key)


def _assert_weights(
    before: dict[str, np.ndarray], after: dict[str, np.ndarray], case: dict[str, Any], expected: Any
) -> None:
    moved = dict(zip(case["delta_keys"], expected["delta_norm/values"], strict=True))
    largest = max(moved.values())
    for key, norm in moved.items():
        if key not in after:  # an idle convolution of the reference
            assert norm == 0, key
            continue
        found = np.linalg.norm(after[key] - before[key])
        golden.assert_close(found, norm, LATER, 1e-3 * LATER * largest, f"way of {key}")
    for name, values in expected.items():
        if name.startswith("after/"):
            key = name.removeprefix("after/")
            # drift is measured against the way that a tensor went, not against its size
            golden.assert_close(
                after[key].ravel()[:64], values, 0.0, LATER * (np.abs(values).max() + moved[key]), name
            )
