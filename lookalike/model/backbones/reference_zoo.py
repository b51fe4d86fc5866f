"""Building what a name of the reference's zoo means as a network of timm."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import nn

from lookalike.core.component import Component
from lookalike.model.backbones import timm_models
from lookalike.model.backbones.reference_keys import KEYS
from lookalike.model.backbones.reference_names import REFERENCE_NAMES, TimmTwin
from lookalike.model.registries import backbones

backbones.elsewhere = REFERENCE_NAMES.keys()


def is_mapped(name: str) -> bool:
    return name in REFERENCE_NAMES


def create(component: Component, pooled: bool) -> nn.Module:
    """The network of timm that a name of the reference means.

    As there it gives the scores of 1000 classes unless `class_num` says otherwise; `pooled` asks for its
    pooled features instead. The network knows what the reference's files call its weights, or why they cannot
    be read.

    Raises UserError for an argument that timm's network does not take.
    """
    twin = REFERENCE_NAMES[component.name]
    arguments = {"class_num": 1000, **twin.arguments, **component.arguments}
    if pooled:
        arguments["class_num"] = 0
    name = timm_models.PREFIX + twin.timm_name
    network: Any = timm_models.create(replace(component, name=name, arguments=arguments))
    if twin.timm_name.startswith("res2net"):
        _as_in_the_reference(network)
    if twin.keys is None:
        network.unmapped_in_reference = unreadable(component.name, twin)
        return network  # type: ignore[no-any-return]
    network.reference_keys = KEYS[twin.keys](network)
    network.required_from_reference = _body(network)
    for path, part in network.named_modules():
        if isinstance(part, nn.Conv2d) and path.endswith((".se.fc1", ".se.fc2")):
            part.transposed_in_reference = ("weight",)  # type: ignore[assignment]
    if twin.keys == "repvgg":
        blocks = [
            "stage0",
            *(f"stage{i + 1}.{j}" for i, s in enumerate(network.stages) for j in range(len(s))),
        ]
        network.obsolete_in_reference = [
            f"{b}.rbr_reparam.{kind}" for b in blocks for kind in ("weight", "bias")
        ]
    return network  # type: ignore[no-any-return]


def unreadable(name: str, twin: TimmTwin) -> str:
    """Why weights of the reference do not load into its network, and what does."""
    return (
        f"weights of the reference for {name} cannot be read, because it is not settled what its files call "
        f"the layers of timm's {twin.timm_name}; timm's own are there with name: timm/{twin.timm_name}, "
        "pretrained: True"
    )


def _body(network: nn.Module) -> frozenset[str]:
    """Keys of everything but the classifier, whose number of classes may be another."""
    names = (getattr(network, "pretrained_cfg", None) or {}).get("classifier") or ()
    names = (names,) if isinstance(names, str) else tuple(names)
    ends = tuple(f"{name}." for name in names)
    return frozenset(
        key for key in network.state_dict() if not key.startswith(ends) and "num_batches" not in key
    )


def _as_in_the_reference(network: Any) -> None:
    """Res2Net's first block handles its splits like the blocks after it there, and borders are not averaged
    with zeros."""
    first = network.layer1[0]
    first.is_first, first.pool = False, None
    for part in network.modules():
        if isinstance(part, nn.AvgPool2d):
            part.count_include_pad = False
