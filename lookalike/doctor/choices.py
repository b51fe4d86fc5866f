"""What a new recipe says, and why: network, picture size, batch, epochs, learning rate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lookalike.core.errors import UserError, line_of
from lookalike.doctor.embedders import Ask, ask, why_not_fetched
from lookalike.doctor.survey import Survey
from lookalike.images.operations.resize import check_interpolation
from lookalike.model import RecModel, backbone_normalisation, build_backbone

TINY_SIDE = 64
"""Grey pictures up to this side are learned from nothing by a small network."""
DEFAULT_BACKBONE, TINY_BACKBONE = "timm/mobilenetv2_100", "Conv4"
_DEFAULT_SIZE, _SMALLEST_SIZE = 160, 96
_IDENTITIES, _PER_IDENTITY = 16, 4
_CPU_MINUTES, _MIN_EPOCHS, _MAX_EPOCHS, _STEPS = 30, 5, 60, 500
_CACHED_BYTES = 500_000_000
"""Decoded pictures up to this size are kept in memory."""


@dataclass(frozen=True)
class Choices:
    """Everything the text of the recipe fills in. `minutes` is what a run takes on two CPU cores, roughly."""

    backbone: str
    backbone_arguments: Mapping[str, Any]
    pretrained: bool | str
    fetchable: bool
    stop_layer: str | None
    size: int
    width: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    interpolation: str
    antialias: bool
    colour: bool
    mirror: bool
    fill: int
    class_num: int
    identities: int
    per_identity: int
    even_classes: bool
    cached: bool
    frozen: list[str]
    epochs: int
    minutes: float

    @property
    def tiny(self) -> bool:
        return self.backbone == TINY_BACKBONE

    @property
    def batch_size(self) -> int:
        return self.identities * self.per_identity

    @property
    def learning_rate(self) -> float:
        return 0.003 if self.pretrained or self.tiny else 0.001

    @property
    def warmup(self) -> float:
        """A tenth of the run."""
        return round(0.1 * self.epochs, 1)


def choose(
    seen: Survey,
    train_labels: np.ndarray,
    *,
    backbone: str | None = None,
    size: int | None = None,
    epochs: int | None = None,
    pretrained: bool | str | None = None,
) -> Choices:
    """Choose for pictures that look like `seen` and training labels 0 … C-1 (N,). What is given is kept.

    Raises UserError for an unknown network and for a size that it cannot take.
    """
    small = seen.side <= TINY_SIDE and seen.grey_share > 0.95
    name = backbone or (TINY_BACKBONE if small else DEFAULT_BACKBONE)
    wanted = size or (_tiny_size(seen.side) if name == TINY_BACKBONE else _size_for(seen.side))
    asked = ask(name, wanted)
    built = _build(name, asked, wanted, size is not None)
    normalisation = backbone_normalisation(name)
    reason = why_not_fetched(name)
    if pretrained is True and reason:
        raise UserError(f"--pretrained true: {reason}")
    fetchable = not reason
    weights: bool | str = fetchable if pretrained is None else pretrained
    counts = np.bincount(train_labels)
    per_identity = max(2, min(_PER_IDENTITY, int(np.median(counts))))
    # at least four batches an epoch
    most = max(2, len(train_labels) // (4 * per_identity))
    identities = min(_IDENTITIES, len(counts), most)
    per_epoch = len(train_labels) * (built.seconds + seen.width * seen.height * _SECONDS_A_PIXEL)
    steps = math.ceil(len(train_labels) / (identities * per_identity))
    chosen_epochs = epochs or _epochs(steps, per_epoch, 6 if weights else 20)
    imagenet = asked.of_timm and bool(weights)
    brightness = float(np.mean(seen.mean))
    return Choices(
        backbone=name,
        backbone_arguments=built.arguments,
        pretrained=weights,
        fetchable=fetchable,
        stop_layer=asked.stop_layer,
        size=built.size,
        width=built.width,
        mean=normalisation.mean if weights else seen.mean,
        deviation=normalisation.std if weights else seen.deviation,
        interpolation=_interpolation(normalisation.interpolation) if imagenet else "area",
        antialias=imagenet and seen.side > 2 * built.size,
        colour=seen.grey_share < 0.95,
        mirror=not small and name != TINY_BACKBONE,
        fill=0 if seen.grey_share > 0.95 and brightness < 0.5 else 255,
        class_num=len(counts),
        identities=identities,
        per_identity=per_identity,
        even_classes=bool(counts.max() <= 4 * max(1.0, float(np.median(counts)))),
        cached=3 * seen.width * seen.height * len(train_labels) <= _CACHED_BYTES,
        frozen=built.stem if imagenet else [],
        epochs=chosen_epochs,
        minutes=chosen_epochs * per_epoch / 60,
    )


_SECONDS_A_PIXEL = 1e-8
_SECONDS_AN_OPERATION = 1e-11
_SECONDS_A_NUMBER = 3e-9
"""What decoding, multiplying and moving cost on two CPU cores; good for a guess before anything was
measured.
"""


def _tiny_size(side: int) -> int:
    """32, at which strokes and shapes are still there, and four layers end in a map of 2 x 2."""
    return 32


def _size_for(side: int) -> int:
    """160, or less where the pictures are smaller, in the steps of 32 in which networks shrink them."""
    return min(_DEFAULT_SIZE, max(_SMALLEST_SIZE, 32 * math.ceil(side / 32)))


def _epochs(steps: int, seconds: float, few: int) -> int:
    """As many as half an hour on two cores holds, at least 5 and at most 60; a `few`, or those that make
    500 steps.
    """
    affordable = int(60 * _CPU_MINUTES / max(seconds, 1e-6))
    useful = max(few, math.ceil(_STEPS / max(steps, 1)))
    return max(_MIN_EPOCHS, min(affordable, useful, _MAX_EPOCHS))


def _interpolation(name: str) -> str:
    try:
        return check_interpolation("ResizeImage", name, "pil")
    except UserError:
        return "bilinear"


@dataclass(frozen=True)
class _Built:
    """A backbone as it will be: its arguments, picture size, width of its features, what training on a
    picture costs.
    """

    arguments: dict[str, Any]
    size: int
    width: int
    seconds: float
    stem: list[str]


def _build(name: str, asked: Ask, size: int, given: bool) -> _Built:
    """Build a backbone to see what it needs.

    A network that is built for one size gets it as an argument, where it has one. Where no size was asked
    for, such a network keeps its own, and one that is made for small pictures sees small ones.
    """
    failure: Exception | None = None
    own = size
    for more in ({}, asked.sized):
        arguments = {**asked.arguments, **more}
        if more and not given:
            break
        try:
            network = build_backbone(
                {"name": name, **arguments}, stop_layer=asked.stop_layer, pretrained=False
            )
        except UserError as error:
            if failure is None:
                raise  # the network itself is unknown
            failure = error
            break
        own = RecModel(network).facts.image_shape[1]
        for side in [size] if given else dict.fromkeys((min(size, own), own)):
            try:
                width, seconds = _measure(network, side)
            except (UserError, RuntimeError, AssertionError, ValueError) as error:
                failure = failure or error
                continue
            return _Built(arguments, side, width, seconds, _stem(network))
    assert failure is not None
    raise UserError(
        f"{name} does not take pictures of {size} x {size}, its own are {own} x {own}: choose another --size "
        f"({line_of(failure)})"
    ) from failure


def _stem(network: torch.nn.Module) -> list[str]:
    """The modules of the first layers, as timm groups them; nothing for networks without batch norms."""
    if not any(isinstance(part, torch.nn.modules.batchnorm._BatchNorm) for part in network.modules()):
        return []
    first = RecModel(network).layer_groups()[0]
    return list(dict.fromkeys(name.removesuffix(".weight").removesuffix(".bias") for name in first))


def _measure(network: torch.nn.Module, side: int) -> tuple[int, float]:
    """Width of the features of a picture, and the seconds that training on one takes on two CPU cores, by
    count.

    Forward and backward are three times the operations of forward.
    """
    from torch.utils.flop_counter import FlopCounterMode

    numbers = 0

    def count(module: torch.nn.Module, given: Any, output: Any) -> None:
        nonlocal numbers
        numbers += output.numel() if isinstance(output, torch.Tensor) else 0

    leaves = [module for module in network.modules() if not list(module.children())]
    hooks = [leaf.register_forward_hook(count) for leaf in leaves]
    network.eval()
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            features = network(torch.zeros(1, 3, side, side))
    finally:
        for hook in hooks:
            hook.remove()
    seconds = 3 * counter.get_total_flops() * _SECONDS_AN_OPERATION + numbers * _SECONDS_A_NUMBER
    return int(features.flatten(1).shape[1]), seconds
