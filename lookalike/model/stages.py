"""The stages of a backbone: the last layer of each, after which maps become smaller or channels double.

They are numbered from 0 as `return_stages` of the reference counts them, which leaves out the stem of a
network. A backbone may say them itself in `stage_layers`; those of timm are what its `feature_info` lists,
so that the numbers are timm's `out_indices`, where the stem may be the first.
"""

from __future__ import annotations

import re

import torch
from torch import nn

from lookalike.core.component import Place
from lookalike.model.layer_outputs import recorded
from lookalike.model.shapes import output_shape

_BLOCKS = re.compile(r"(blocks?|stages?|layers?)(\d*)")


def stage_layers(network: nn.Module, image_shape: tuple[int, int, int]) -> list[str]:
    """Names of the last layers of the stages, none where the network has no blocks that can be told apart."""
    own = getattr(network, "stage_layers", None)
    if own is not None:
        return list(own)
    listed = getattr(network, "feature_info", None)
    if listed is not None:
        return [entry["module"] for entry in (listed if isinstance(listed, list) else listed.info)]
    return _last_of_each_stage(network, image_shape)


def _last_of_each_stage(network: nn.Module, image_shape: tuple[int, int, int]) -> list[str]:
    layers: list[str] = []
    for name, child in network.named_children():
        match = _BLOCKS.fullmatch(name)
        if match is None:
            continue
        if match[2] == "" and isinstance(child, (nn.Sequential, nn.ModuleList)):
            layers += [f"{name}[{index}]" for index in range(len(child))]
        else:
            layers.append(name)
    paths = {layer: re.sub(r"\[(\d+)\]", r".\1", layer) for layer in layers}
    with recorded(network, paths) as outputs:
        output_shape(network, image_shape)
    last: list[str] = []
    before: torch.Size | None = None
    for layer in layers:
        shape = outputs[layer].shape[1:]
        # the channels double also in a last stage of stride 1, which keeps the size of the map
        if before is None or shape[1:] != before[1:] or shape[0] >= 2 * before[0]:
            last.append(layer)
        last[-1], before = layer, shape
    return last


def chosen_stages(stages: list[str], wanted: bool | int | list[int], place: Place) -> list[str]:
    """The layers that `return_stages` asks for: all with true, else those of one number or of several.

    Raises UserError for a number that the backbone has no stage for (the reference leaves it out in silence).
    """
    if wanted is True:
        return stages
    numbers = wanted if isinstance(wanted, list) else [wanted]
    for number in numbers:
        if not 0 <= number < len(stages):
            listed = ", ".join(f"{index}: {layer}" for index, layer in enumerate(stages)) or "none"
            raise place.error(f"there is no stage {number}; the backbone has {listed}")
    return [stages[number] for number in numbers]
