"""Outputs of several layers at once, and gradients that stop at a layer.

The layers are looked at with hooks while the network runs, so that it stays as it is: its keys, its speed,
and its one output. Where a network was traced to cut it, `TracedNetwork` keeps a place for each of them.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from lookalike.core.component import Place
from lookalike.core.errors import UserError
from lookalike.model.stop_layers import TRACED_OUTPUT, find_layer, layer_path


def layers_of(network: nn.Module, patterns: Sequence[str], place: Place) -> dict[str, str]:
    """The paths of layers by the names under which their outputs are given.

    A pattern is the name of a layer (`blocks[3]`), which is given under that name, or a regular expression
    that matches the dotted names of layers as a whole (`stages\\.[123]`), which are given under theirs.
    Raises UserError for a pattern that names nothing.
    """
    known = [name for name, _ in network.named_modules() if name]
    found: dict[str, str] = {}
    for number, pattern in enumerate(patterns):
        matching = [] if layer_path(pattern) in known else _matching(pattern, known)
        if matching:
            found.update(zip(matching, matching, strict=True))
        else:
            found[pattern.strip()] = find_layer(network, pattern, place.at(number))
    return found


def _matching(pattern: str, names: list[str]) -> list[str]:
    try:
        expression = re.compile(pattern)
    except re.error:
        return []  # then it is a name, which does not exist
    return [name for name in names if expression.fullmatch(name)]


def watched_path(network: nn.Module, path: str) -> str:
    """The module whose output is that of a layer: the layer, or what stands for it in a traced network."""
    stand_in = f"{path}.{TRACED_OUTPUT}" if path else TRACED_OUTPUT
    return stand_in if stand_in in dict(network.named_modules()) else path


def existing_layers(network: nn.Module, names: Sequence[str]) -> list[str]:
    """The paths of those layers that the network has; they may be named from a model, `backbone.…`."""
    known = dict(network.named_modules())
    paths = [layer_path(name).removeprefix("backbone.") for name in names]
    return [path for path in paths if path and path in known]


@contextlib.contextmanager
def recorded(
    network: nn.Module, layers: Mapping[str, str], place: Place | None = None
) -> Iterator[dict[str, Tensor]]:
    """A block in which the network runs; afterwards the dict holds the outputs of the layers by their names.

    `layers` are names with the paths of modules. A layer that runs several times gives its last output.
    Raises UserError where one does not run, or gives something else than a tensor.
    """
    seen: dict[str, Any] = {}
    handles = []
    for name, path in layers.items():

        def keep(_module: nn.Module, _inputs: Any, output: Any, name: str = name) -> None:
            seen[name] = output

        handles.append(network.get_submodule(path).register_forward_hook(keep))
    given: dict[str, Tensor] = {}
    try:
        yield given
    finally:
        for handle in handles:
            handle.remove()
    for name in layers:
        if name not in seen:
            raise (place or Place()).error(f"the layer '{name}' does not run when the model sees an image")
        if not isinstance(seen[name], Tensor):
            raise (place or Place()).error(
                f"the layer '{name}' gives a {type(seen[name]).__name__}, not a tensor"
            )
        given[name] = seen[name]


def output_of(network: nn.Module, images: Tensor, name: str, place: Place | None = None) -> Tensor:
    """Output of a named layer while the network sees the images, the last one where it runs several times.

    Raises UserError when the layer does not exist, does not run, or gives something other than a tensor.
    """
    path = watched_path(network, find_layer(network, name, place))
    with recorded(network, {name: path}, place) as outputs:
        network(images)
    return outputs[name]


def as_vectors(value: Tensor) -> Tensor:
    """The output of a layer as (N, D): a map (N, C, H, W) is averaged over its places, tokens (N, T, C)
    too.
    """
    if value.ndim == 4:
        return value.mean(dim=(2, 3))
    return value.mean(dim=1) if value.ndim == 3 else value.flatten(1)


def stop_gradient(module: nn.Module) -> None:
    """Let no gradient through the output of a module."""
    if _without_gradient not in module._forward_hooks.values():
        module.register_forward_hook(_without_gradient)


def _without_gradient(_module: nn.Module, _inputs: Any, output: Any) -> Any:
    return output.detach() if isinstance(output, Tensor) else output


def freeze_without_gradient(network: nn.Module, image_shape: tuple[int, int, int]) -> int:
    """Mark the parameters that no gradient of the output reaches as not to be trained; returns their number.

    Found by a pass backwards with shapes instead of numbers; a network that cannot do that sees a black
    image.
    """
    parameters = dict(network.named_parameters())
    try:
        reached = _reached(network, parameters, image_shape, "meta")
    except (NotImplementedError, RuntimeError):
        device = next((str(parameter.device) for parameter in parameters.values()), "cpu")
        reached = _reached(network, parameters, image_shape, device)
    frozen = [parameter for name, parameter in parameters.items() if name not in reached]
    for parameter in frozen:
        parameter.requires_grad_(False)
    return sum(parameter.numel() for parameter in frozen)


def _reached(
    network: nn.Module, parameters: Mapping[str, Tensor], image_shape: tuple[int, int, int], device: str
) -> set[str]:
    # copies, since a pass in training mode moves the statistics of batch norms
    state = {name: value.detach().clone().to(device) for name, value in network.named_buffers()}
    leaves = {
        name: value.detach().clone().to(device).requires_grad_(value.is_floating_point())
        for name, value in parameters.items()
    }
    with torch.enable_grad():
        output = functional_call(network, {**state, **leaves}, (torch.zeros(2, *image_shape, device=device),))
        if not isinstance(output, Tensor) or not output.requires_grad:
            raise UserError("no gradient reaches the output of the backbone: nothing of it would be trained")
        gradients = torch.autograd.grad(output.sum(), list(leaves.values()), allow_unused=True)
    return {name for name, gradient in zip(leaves, gradients, strict=True) if gradient is not None}
