"""What shape a network gives, found without computing anything."""

from __future__ import annotations

import torch
from torch import nn
from torch.func import functional_call

from lookalike.core.component import Place
from lookalike.core.errors import line_of

_NOWHERE = Place()


def output_shape(
    module: nn.Module, image_shape: tuple[int, int, int], place: Place = _NOWHERE
) -> tuple[int, ...]:
    """Shape of the output for one image (C, H, W), without the batch dimension.

    The network runs on the `meta` device, which holds shapes but no numbers; one that cannot do that sees a
    black image.

    Raises UserError, which `place` stands before, for pictures of a size that it cannot take, and when the
    output is not one tensor.
    """
    training = {name: part.training for name, part in module.named_modules()}
    module.eval()
    try:
        with torch.no_grad():
            try:
                state = {
                    name: value.to("meta")
                    for name, value in (*module.named_parameters(), *module.named_buffers())
                }
                output = functional_call(module, state, (torch.empty(1, *image_shape, device="meta"),))
            except (NotImplementedError, RuntimeError):
                device = next((p.device for p in module.parameters()), torch.device("cpu"))
                output = _seeing_black(module, image_shape, device, place)
    finally:
        for name, part in module.named_modules():
            if part.training != training[name]:
                part.train(training[name])
    if not isinstance(output, torch.Tensor):
        raise place.error(
            f"{type(module).__name__} gives a {type(output).__name__}, not one tensor of features"
        )
    return tuple(output.shape[1:])


def _seeing_black(
    module: nn.Module, image_shape: tuple[int, int, int], device: torch.device, place: Place
) -> object:
    try:
        return module(torch.zeros(1, *image_shape, device=device))
    except RuntimeError as error:
        size = "x".join(map(str, image_shape))
        reason = line_of(error)
        raise place.error(f"{type(module).__name__} cannot take pictures of {size} ({reason})") from error
