"""The large networks with few channels and layers, so that two steps of each take no time: for tests only.

Names and layers stay, and what is behind the network fits (`fit`). What a network computes is compared with
the reference in tests/golden.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import pytest
import timm
import torch
from torch import nn

from lookalike.model.backbones import adaface_ir, resnet, vgg
from lookalike.model.registries import backbones
from tests.configs.small import sections

WIDTHS = [8, 16, 24, 32]
RESNET50_FEATURES = 4 * WIDTHS[-1]


def shrink(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the networks of the table that have no small relative narrow and shallow."""
    monkeypatch.setitem(resnet._DEPTHS, 50, [1, 1, 1, 2])
    monkeypatch.setattr(resnet, "_WIDTHS", WIDTHS)
    monkeypatch.setattr(vgg, "_WIDTHS", [4, 4, 8, 8, 8])
    plan = adaface_ir._PLANS["18"]
    monkeypatch.setitem(adaface_ir._PLANS, "18", replace(plan, counts=[1, 1, 1, 1], widths=WIDTHS))
    transformer = functools.partial(timm.create_model, depth=2, embed_dim=32, num_heads=2)
    monkeypatch.setattr(timm, "create_model", transformer)  # of CLIP, the only ones that are timm's
    for name in ("AlexNet", "VGG19Sigmoid"):
        _with_few_hidden(monkeypatch, name)


def _with_few_hidden(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    entry = backbones.entry(name)

    @functools.wraps(entry.build)
    def build(**arguments: Any) -> nn.Module:
        with torch.device("meta"):  # a hundred million numbers need not be drawn to be thrown away
            network = entry.build(**arguments)
        _few_hidden(network)
        network.to_empty(device="cpu")
        for part in network.modules():
            if isinstance(part, (nn.Conv2d, nn.Linear)):
                part.reset_parameters()
        return network

    monkeypatch.setitem(backbones._entries, entry.name, replace(entry, build=build))


def _few_hidden(network: nn.Module, width: int = 32) -> None:
    """All linear layers but the last get few outputs; the last keeps its own."""
    places = [name for name, part in network.named_modules() if isinstance(part, nn.Linear)]
    inputs = network.get_submodule(places[0]).in_features
    for name in places:
        outputs = network.get_submodule(name).out_features if name == places[-1] else width
        parent, _, own = name.rpartition(".")
        setattr(network.get_submodule(parent), own, nn.Linear(inputs, outputs))
        inputs = outputs


def fit(values: dict[str, Any]) -> None:
    """Set the widths in a recipe that are those of the narrow ResNet50 in place of 2048."""
    for section in sections([values["Arch"], values.get("Loss")]):
        for key, value in section.items():
            if value == 2048:
                section[key] = RESNET50_FEATURES
