"""What all losses share: how they read outputs, labels and the batch; arithmetic in float32."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lookalike.core.component import Component
from lookalike.core.errors import UserError


class Term(nn.Module, ABC):
    """What may stand in `Loss.Train`: from the model's outputs, the labels and the batch to named values."""

    component: Component | None = None
    """The entry of the recipe that it was built from, which knows its place."""

    @abstractmethod
    def forward(
        self, outputs: Mapping[str, Any], labels: Tensor, batch: Mapping[str, Any] | None = None
    ) -> dict[str, Tensor]:
        """The values to sum, by the names under which they are told.

        `outputs` is what the model gives (that of several models by their names, for distillation), `labels`
        is (N,) or (N, 1), `batch` the loader's whole batch. Raises UserError when something that the term
        reads is missing.
        """


class Loss(Term):
    """A term of one value that reads one output of the model and the labels.

    `forward` takes the outputs of the model and the labels and gives `{output_key: value}`. A subclass writes
    `value`. The arithmetic is float32 (float64 for float64 inputs) also under autocast: similarities of half
    precision are too coarse for margins, and exponentials overflow in it.
    """

    output_key: str
    """Name of the value among the results; the reference's name."""

    def __init__(self, feature_from: str = "features") -> None:
        super().__init__()
        self.feature_from = feature_from

    @abstractmethod
    def value(self, values: Tensor, labels: Tensor) -> Tensor:
        """The loss of `values` (N, D), one row a sample, and `labels` as `read_labels` gives them."""

    def forward(
        self, outputs: Mapping[str, Any], labels: Tensor, batch: Mapping[str, Any] | None = None
    ) -> dict[str, Tensor]:
        """`{output_key: loss}`.

        `outputs` is what the model gives, `labels` is (N,) or (N, 1); the batch is not looked at. Raises
        UserError when the output that the loss reads is missing, or when the labels do not fit to it.
        """
        values = read_output(outputs, self.feature_from, self.output_key)
        with torch.autocast(values.device.type, enabled=False):
            return {self.output_key: self.value(values, self.read_labels(labels, values))}

    def read_labels(self, labels: Tensor, values: Tensor) -> Tensor:
        """The labels as (N,) on the device of the values. Raises UserError for another shape."""
        return one_a_sample(labels, values, self.output_key)


def one_a_sample(labels: Tensor, values: Tensor, reader: str, what: str = "label") -> Tensor:
    """Labels (or domains, …) as (N,) on the device of the values (N, …).

    Raises UserError for another shape.
    """
    if labels.numel() != len(values) or labels.dim() > 2:
        raise UserError(
            f"{reader} needs one {what} a sample, (N,) or (N, 1); got {what}s of shape "
            f"{tuple(labels.shape)} for outputs of shape {tuple(values.shape)}"
        )
    return labels.reshape(-1).to(values.device)


def read_batch(batch: Mapping[str, Any] | None, key: str, reader: str, source: str) -> Tensor:
    """The entry `key` of the batch. Raises UserError that says where such an entry comes from."""
    value = (batch or {}).get(key)
    if not isinstance(value, Tensor):
        given = ", ".join(f"'{name}'" for name in batch or {}) or "nothing"
        raise UserError(f"{reader} reads '{key}' of the batch, which holds {given}; {source}")
    return value


def in_full_precision(value: Tensor) -> Tensor:
    """The tensor in float32, or as it is in float64."""
    return value if value.dtype is torch.float64 else value.float()


def read_output(outputs: Mapping[str, Any], key: str, reader: str) -> Tensor:
    """The (N, D) output `key` of the model in float32 or float64; maps such as (N, D, 1, 1) are flattened.

    Raises UserError that names the loss, the key and what the model gives.
    """
    value = outputs.get(key)
    if value is None:
        given = ", ".join(f"'{name}'" for name, output in outputs.items() if output is not None)
        advice = (
            "'logits' come from Arch.Head"
            if key == "logits"
            else "set 'feature_from' of the loss to one of these"
        )
        raise UserError(
            f"{reader} reads the model's output '{key}', but the model gives {given or 'nothing'}; {advice}"
        )
    value = value.flatten(1) if value.dim() > 2 else value
    if value.dim() != 2:
        raise UserError(
            f"{reader} needs '{key}' as one row a sample, (N, D), got the shape {tuple(value.shape)}"
        )
    return in_full_precision(value)
