"""Short training runs of the reference's recipes: losses, rates, gradients, and the way of the weights."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lookalike.loss import CombinedLoss, build_loss, losses
from lookalike.model import RecModel, build_model, to_reference_key
from lookalike.training.optimizers import Optimizers, build_optimizer, optimizers
from tests.golden import golden
from tests.golden.reference_arch import build, known, missing_part, overridden

FIRST_LOSS, FIRST_GRADIENT, LATER = 1e-4, 1e-3, 2e-2
"""What the golden set allows: of the losses at step 0, of the gradients there, of the steps that follow."""
ROUNDING, DISTURBED, TIMES = 2e-7, 2, 4
"""How far pictures are disturbed (about one rounding of float32), in how many runs, and how many times the
distance that this makes is allowed where it is more than the above."""
_ARRAYS = {"gradients": "grad_norm/values", "ways": "delta_norm/values"}


def _names(section: Any) -> list[str]:
    entries = section if isinstance(section, list) else [section]
    return [entry["name"] if "name" in entry else next(iter(entry)) for entry in entries]


def missing(case: dict[str, Any]) -> str | None:
    if not known(case):
        return None
    unknown = [f"loss {name}" for name in _names(case["loss"]) if name not in losses]
    unknown += [f"optimizer {name}" for name in _names(case["optimizer"]) if name not in optimizers]
    return missing_part(case) or next(iter(unknown), None)


def _optimizer_section(case: dict[str, Any]) -> Any:
    """The section with the `Optimizer.…=value` among the overrides, which the case holds already."""
    for override in case["overrides"]:
        (section, *keys), value = golden.read_override(override)
        if section == "Optimizer":
            assert golden.at(case["optimizer"], keys) == value, override
    return case["optimizer"]


@cache
def _weights(case: str) -> dict[str, Tensor]:
    found = next(entry for entry in golden.cases("train_steps") if entry["id"] == case)
    return build("train_steps", found).state_dict()


class Run:
    """A model with its losses and optimizers, and the numbers of its steps by the reference's names."""

    def __init__(self, case: dict[str, Any]) -> None:
        self.case = case
        # built anew, since a deep copy would lose what parameters carry (lr_multiplier, regularizer)
        self.model: RecModel = build_model(overridden(case), reference_behaviour=True)
        self.model.load_state_dict(_weights(case["id"]))
        for module in self.model.modules():
            if "Dropout" in type(module).__name__:
                module.p = 0.0  # type: ignore[assignment]
        self.loss: CombinedLoss = build_loss(case["loss"], reference_behaviour=True)
        generator, grain = golden.weightgen(), golden.salt("train_steps", case)
        for key, shape in case["loss_parameters"]:
            _, term, name = key.split(".", 2)
            with torch.no_grad():
                parameter = self.loss.terms[int(term)].get_parameter(name)
                # the streams of a loss are named after it, though the list of its parameters leaves that out
                stream = f"loss.{key}"
                parameter.copy_(torch.from_numpy(generator.gen(stream, shape, grain, case["gain"])))
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


@dataclass
class Numbers:
    """What a run gave: losses (step, loss), norms of the gradients at step 0 and of each tensor's way."""

    names: list[str]
    losses: np.ndarray
    gradients: np.ndarray
    ways: np.ndarray
    run: Run


def numbers(
    case: dict[str, Any], expected: dict[str, np.ndarray], disturbance: int = 0, double: bool = False
) -> Numbers:
    """One whole run: on pictures disturbed by one rounding, or in float64, where that is asked for."""
    run = Run(case)
    kind = torch.float64 if double else torch.float32
    run.model.to(kind)
    run.loss.to(kind)
    run.model.train()
    before = run.state()
    weights = golden.weightgen()
    noise = torch.Generator().manual_seed(disturbance)
    losses: list[list[float]] = []
    gradients: dict[str, float] = {}
    for step in range(case["T"]):
        images = torch.from_numpy(weights.inputs(case["input_seed"] + step, case["input_shape"]))
        if disturbance:
            images = images * (1 + ROUNDING * torch.randn(images.shape, generator=noise))
        golden.assert_close(
            run.optimizers.learning_rate, expected["out/lr"][step], 1e-6, 1e-12, f"rate {step}"
        )
        values, norms = run.step(images.to(kind), torch.from_numpy(expected["in/labels"][step]))
        losses.append(list(values.values()))
        gradients = gradients or norms
    after = run.state()
    ways = [np.linalg.norm(after[key] - before[key]) if key in after else 0.0 for key in case["delta_keys"]]
    return Numbers(
        list(values),
        np.array(losses),
        np.array([gradients.get(key, 0.0) for key in case["parameters"]]),
        np.array(ways),
        run,
    )


def deviation(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Relative to the expected number, or to a thousandth of the largest where that is more."""
    size = np.abs(expected)
    return np.asarray(np.abs(found - expected) / np.maximum(size, 1e-3 * size.max()))


@golden.parametrize("train_steps", missing=missing)
def test_train_steps(case: dict[str, Any]) -> None:
    """Where ReLU and hard mining choose otherwise after one rounding, runs part by more than the set allows.

    So each number may lie as far away as the set says, or as a few times the distance that a rounding of the
    pictures makes here. Asserted without that: losses at step 0, rates, and half of the gradients.
    """
    expected = golden.under(golden.arrays("train_steps"), case["id"])
    ours = numbers(case, expected)
    others = [numbers(case, expected, seed + 1) for seed in range(DISTURBED)]
    assert set(ours.names) == {n.removeprefix("out/") for n in expected if n.startswith("out/")} - {"lr"}

    losses = np.stack([expected[f"out/{name}"] for name in ours.names], axis=1)
    golden.assert_close(ours.losses[0], losses[0], FIRST_LOSS, 1e-6, "losses at step 0")
    apart = np.max([deviation(other.losses, ours.losses).max(axis=1) for other in others], axis=0)
    allowed = np.maximum(max(LATER, case["rtol"]), TIMES * np.maximum.accumulate(apart))
    assert (deviation(ours.losses, losses).max(axis=1) <= allowed).all(), (ours.losses, losses, allowed)

    for name, least in (("gradients", FIRST_GRADIENT), ("ways", LATER)):
        found, there = getattr(ours, name), expected[_ARRAYS[name]]
        keys = case["parameters" if name == "gradients" else "delta_keys"]
        assert [k for k, a, b in zip(keys, found, there, strict=True) if (a == 0) != (b == 0)] == [], name
        off = deviation(found, there)
        apart = np.stack([deviation(getattr(other, name), found) for other in others])
        middle = least if name == "gradients" else max(least, TIMES * float(np.median(apart)))
        assert np.median(off) <= middle, name
        worst = int(off.argmax())
        assert off[worst] <= max(least, TIMES * apart.max()), f"{keys[worst]}: {off[worst]:.3g}"

    moved = dict(zip(case["delta_keys"], ours.ways, strict=True))
    state, states = ours.run.state(), [other.run.state() for other in others]
    for name, values in expected.items():
        if name.startswith("after/"):
            key = name.removeprefix("after/")
            apart = max(np.abs(other[key] - state[key]).max() for other in states)
            allowed = max(LATER * (np.abs(values).max() + moved[key]), TIMES * apart)
            golden.assert_close(state[key].ravel()[:64], values, 0.0, allowed, name)
