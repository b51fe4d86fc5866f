"""The calls of losses.json: how their arguments, results and gradients are stored, and our loss for each."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lookalike.loss import build_loss, losses
from lookalike.loss.distillation import pair_losses
from tests.golden import golden


def missing(case: dict[str, Any]) -> str | None:
    """The loss of a case that does not exist here."""
    named = (
        [name for entry in case["args"] for name in entry] if case["cls"] == "CombinedLoss" else [case["cls"]]
    )
    return next((f"loss {name}" for name in named if name not in losses and name not in pair_losses), None)


def is_sequence(case: dict[str, Any]) -> bool:
    """Whether a case is several calls of one loss, which remembers."""
    return "inputs" not in case


def build(case: dict[str, Any]) -> nn.Module:
    """The loss of a case, with its parameters set."""
    if case["cls"] == "CombinedLoss":
        loss: nn.Module = build_loss(case["args"], reference_behaviour=True)
    else:
        registry: Any = pair_losses if case["cls"] in pair_losses else losses
        loss = registry.build({case["cls"]: case["args"]}, reference_behaviour=True)
    stored = golden.under(golden.arrays("losses"), f"{case['id']}/param")
    parameters = dict(loss.named_parameters())
    assert sorted(map(our_name, stored)) == sorted(parameters)
    for name, array in stored.items():
        parameter = parameters[our_name(name)]
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(in_our_layout(array, name)))
    return loss


def our_name(parameter: str) -> str:
    """`loss_func.2.centers` is `terms.2.centers`; `loss_func.projectors.…` is `loss.projectors.…`."""
    first, _, rest = parameter.replace(".conv.", ".").partition(".")
    if first != "loss_func":
        return parameter.replace(".conv.", ".")
    return f"terms.{rest}" if rest[0].isdigit() else f"loss.{rest}"


def in_our_layout(array: np.ndarray, parameter: str) -> np.ndarray:
    """A linear layer's weight is [in, out] there and [out, in] here."""
    return array.T if parameter.endswith(".conv.weight") else array


class Call:
    """The arguments of a call, nested as their names say (`arg0.Student.logits`); their tensors by name."""

    def __init__(self, case: dict[str, Any]) -> None:
        self.case = case
        self.tensors: dict[str, Tensor] = {}
        self.arguments: list[Any] = []
        for name, array in sorted(golden.under(golden.arrays("losses"), f"{case['id']}/in").items()):
            tensor = torch.from_numpy(array)
            self.tensors[name] = tensor.requires_grad_(tensor.is_floating_point())
            position, *keys = name.split(".")
            if int(position[3:]) == len(self.arguments):
                self.arguments.append({})
            if keys:
                golden.put(self.arguments[-1], keys, tensor)
            else:
                self.arguments[-1] = tensor

    def of(self, loss: nn.Module) -> dict[str, Tensor]:
        """What our loss gives for the arguments."""
        if self.case["cls"] in pair_losses:
            results: dict[str, Tensor] = loss(*self.arguments)
            return results
        outputs, labels = self.arguments
        if isinstance(outputs, Tensor):  # the one loss that is handed its logits bare
            outputs = {"logits": outputs}
        batch = labels if isinstance(labels, dict) else {"label": labels}
        results = loss(outputs, batch["label"], batch)
        return results
