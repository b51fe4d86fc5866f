"""A model that rounds as it will when it is deployed, so that training makes up for the loss."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn

from lookalike.core.errors import UserError
from lookalike.model.rec_model import RecModel
from lookalike.model.slim.placement import INPUT, OUTPUT, find_places
from lookalike.model.slim.quantisers import Quantiser, RoundedConv2d, RoundedLinear
from lookalike.model.slim.structure import Quantisation, Structure

_ROUNDED: dict[type[nn.Module], type[nn.Module]] = {nn.Conv2d: RoundedConv2d, nn.Linear: RoundedLinear}
_EXACT: dict[type[nn.Module], type[nn.Module]] = {
    RoundedConv2d: nn.Conv2d,
    RoundedLinear: nn.Linear,
    Quantiser: nn.Identity,
}


def quantise(
    model: RecModel,
    image_shape: tuple[int, int, int],
    *,
    learned_clip: bool = True,
    symmetric: bool = False,
) -> None:
    """Let backbone and neck round weights and activations to 8 bits, in place; heads stay as they are.

    Branches that are separate in training only are joined first, as the deployed network has them joined.
    Raises UserError where there is nothing to round.
    """
    model.fuse()
    places = find_places(model, image_shape, learned_clip=learned_clip, symmetric=symmetric)
    put_in_place(model, places, "Slim.quant")
    widths = model.structure.widths if model.structure is not None else {}
    model.structure = Structure(widths, places)


def without_rounding(model: nn.Module) -> nn.Module:
    """A copy of a model that computes with the weights and activations as they are before rounding."""
    exact = copy.deepcopy(model)
    for module in exact.modules():
        # the same objects with another forward, as they came
        module.__class__ = _EXACT.get(type(module), type(module))
    return exact


def put_in_place(model: nn.Module, places: Quantisation, source: str) -> None:
    """Add the quantisers of a quantisation and let its layers round their weights.

    Raises UserError for places that the model does not have.
    """
    modules = dict(model.named_modules())
    for path in places.quantisers:
        name, _, end = path.rpartition(".")
        if name not in modules or end not in (INPUT, OUTPUT):
            raise UserError(f"{source}: was trained in another model: this one has no module '{name}'")
        _attach(modules[name], end, Quantiser(places.learned_clip, places.symmetric))
    for name in places.layers:
        layer = modules.get(name)
        if layer is None or type(layer) not in _ROUNDED:
            raise UserError(
                f"{source}: was trained in another model: '{name}' is no layer that can be rounded"
            )
        # the same object with another forward: its hooks, its parameters and its place stay
        layer.__class__ = _ROUNDED[type(layer)]


def _attach(module: nn.Module, end: str, quantiser: Quantiser) -> None:
    parameter = next(module.parameters(), None)
    module.add_module(end, quantiser if parameter is None else quantiser.to(parameter.device))
    quantiser.train(module.training)
    if end == INPUT:
        module.register_forward_pre_hook(_round_input)
    else:
        module.register_forward_hook(_round_output)


def _round_input(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return (module.input_quantiser(inputs[0]), *inputs[1:])  # type: ignore[operator]


def _round_output(module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
    return module.output_quantiser(output)  # type: ignore[operator,no-any-return]
