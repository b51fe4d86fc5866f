"""`weight_attr` and `bias_attr`: how one parameter starts, how fast it learns, how it is regularised.

A recipe writes `{initializer: {name: Normal, std: 0.001}, learning_rate: 0.1, regularizer: {name: L2Decay,
coeff: 0.0}}` or `False` for a bias that does not exist. Afterwards the parameter carries `lr_multiplier:
float` and `regularizer: ("L2", 0.0)` as attributes, which the optimizer reads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from pydantic import SkipValidation
from torch import Tensor, nn

from lookalike.core.component import Place, Section, place_of
from lookalike.core.errors import did_you_mean
from lookalike.core.numbers import Number, parse_number
from lookalike.core.registry import Registry

Fill = Callable[[Tensor], object]
AttributeValue = Annotated[Mapping[str, Any] | bool | None, SkipValidation]
"""What a recipe writes for `weight_attr` or `bias_attr`."""

initializers: Registry[Fill] = Registry("initializer")

_REGULARIZERS: dict[str, Literal["L1", "L2"]] = {"L1Decay": "L1", "L2Decay": "L2", "L1": "L1", "L2": "L2"}


def fans(parameter: Tensor) -> tuple[int, int]:
    """Fan in and fan out. A vector has its length for both, as in Paddle."""
    if parameter.ndim < 2:
        return parameter.numel(), parameter.numel()
    receptive = math.prod(parameter.shape[2:])
    return parameter.shape[1] * receptive, parameter.shape[0] * receptive


@initializers.register("Constant")
def constant(value: Number = 0.0) -> Fill:
    return lambda parameter: nn.init.constant_(parameter, value)


@initializers.register("Normal")
def normal(mean: Number = 0.0, std: Number = 1.0) -> Fill:
    return lambda parameter: nn.init.normal_(parameter, mean, std)


@initializers.register("TruncatedNormal")
def truncated_normal(mean: Number = 0.0, std: Number = 1.0) -> Fill:
    """Normal, cut at two standard deviations."""
    return lambda parameter: nn.init.trunc_normal_(parameter, mean, std, mean - 2 * std, mean + 2 * std)


@initializers.register("Uniform")
def uniform(low: Number = -1.0, high: Number = 1.0) -> Fill:
    return lambda parameter: nn.init.uniform_(parameter, low, high)


@initializers.register("XavierNormal")
def xavier_normal(fan_in: Number | None = None, fan_out: Number | None = None) -> Fill:
    """Normal with variance 2 / (fan_in + fan_out)."""

    def fill(parameter: Tensor) -> Tensor:
        own_in, own_out = fans(parameter)
        return nn.init.normal_(parameter, 0.0, math.sqrt(2.0 / ((fan_in or own_in) + (fan_out or own_out))))

    return fill


@initializers.register("XavierUniform")
def xavier_uniform(fan_in: Number | None = None, fan_out: Number | None = None) -> Fill:
    """Uniform within ±sqrt(6 / (fan_in + fan_out))."""

    def fill(parameter: Tensor) -> Tensor:
        own_in, own_out = fans(parameter)
        limit = math.sqrt(6.0 / ((fan_in or own_in) + (fan_out or own_out)))
        return nn.init.uniform_(parameter, -limit, limit)

    return fill


@initializers.register("KaimingNormal", "MSRANormal")
def kaiming_normal(
    fan_in: Number | None = None, negative_slope: Number = 0.0, nonlinearity: str = "relu"
) -> Fill:
    """Normal with standard deviation gain / sqrt(fan_in)."""
    gain = nn.init.calculate_gain(nonlinearity, negative_slope)  # type: ignore[arg-type]
    return lambda parameter: nn.init.normal_(parameter, 0.0, gain / math.sqrt(fan_in or fans(parameter)[0]))


@initializers.register("KaimingUniform")
def kaiming_uniform(
    fan_in: Number | None = None, negative_slope: Number = 0.0, nonlinearity: str = "relu"
) -> Fill:
    """Uniform within ±gain * sqrt(3 / fan_in)."""
    gain = nn.init.calculate_gain(nonlinearity, negative_slope)  # type: ignore[arg-type]

    def fill(parameter: Tensor) -> Tensor:
        limit = gain * math.sqrt(3.0 / (fan_in or fans(parameter)[0]))
        return nn.init.uniform_(parameter, -limit, limit)

    return fill


@initializers.register("Orthogonal")
def orthogonal(gain: Number = 1.0) -> Fill:
    return lambda parameter: nn.init.orthogonal_(parameter, gain)


@dataclass(frozen=True)
class Attribute:
    """A parsed `weight_attr` or `bias_attr`."""

    fill: Fill | None = None
    learning_rate: float = 1.0
    regularizer: tuple[Literal["L1", "L2"], float] | None = None

    def apply(self, parameter: Tensor, default: Fill | None = None) -> None:
        """Initialise the parameter (by `default` where nothing is written) and hang the settings on it."""
        fill = self.fill or default
        if fill is not None:
            with torch.no_grad():
                fill(parameter)
        if self.learning_rate != 1.0:
            parameter.lr_multiplier = self.learning_rate  # type: ignore[attr-defined]
        if self.regularizer is not None:
            parameter.regularizer = self.regularizer  # type: ignore[attr-defined]


def parse_attribute(value: AttributeValue, path: str) -> Attribute | None:
    """Read an attribute; None means that the parameter does not exist (`False`).

    Raises UserError for an unknown key, initializer or regularizer.
    """
    if value is False:
        return None
    if value is None or value is True:
        return Attribute()
    place = value.place if isinstance(value, Section) else Place(path)
    if not isinstance(value, Mapping):
        raise place.error(f"must be a mapping or false, got {value!r}")
    known = ("initializer", "learning_rate", "regularizer")
    for key in value:
        if key not in known:
            line = place.on_line_of(place_of(value, key, place))
            raise line.error(
                f"unknown key '{key}'{did_you_mean(key, known) or '.'} (accepts: {', '.join(known)})"
            )
    fill = None
    if value.get("initializer") is not None:
        fill = initializers.build(value["initializer"], str(place.at("initializer")))
    return Attribute(
        fill, _number(value, "learning_rate", 1.0, place), _regularizer(value.get("regularizer"), place)
    )


def _number(value: Mapping[str, Any], key: str, default: float, place: Place) -> float:
    found = value.get(key, default)
    try:
        return parse_number(found) if isinstance(found, str) else float(found)
    except (TypeError, ValueError):
        raise place_of(value, key, place).error(f"must be a number, got {found!r}") from None


def _regularizer(value: Any, place: Place) -> tuple[Literal["L1", "L2"], float] | None:
    if value is None:
        return None
    place = value.place if isinstance(value, Section) else place.at("regularizer")
    if not isinstance(value, Mapping) or value.get("name") not in _REGULARIZERS:
        raise place.error(
            f"must be {{name: L2Decay, coeff: 0.0}} with a name of L1Decay, L2Decay, got {value!r}"
        )
    return _REGULARIZERS[value["name"]], _number(value, "coeff", 0.0, place)
