"""Whether the parts of a model fit together, found when it is built and told with the lines of both."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from lookalike.core.component import Component, Place, place_of
from lookalike.model.layer_outputs import recorded
from lookalike.model.necks import NeckChain
from lookalike.model.rec_model import BackboneFacts
from lookalike.model.shapes import output_shape

Shape = tuple[int, ...]


@dataclass(frozen=True)
class _Given:
    """What a part gives: who it is, and the shape of its output, with the extent of maps where that is
    known.
    """

    label: str
    shape: Shape | None
    extent_known: bool = True

    @property
    def width(self) -> int | None:
        """Number of features, flattened."""
        known = self.shape is not None and (self.extent_known or math.prod(self.shape[1:]) == 1)
        return math.prod(self.shape) if known and self.shape is not None else None


def check_fit(
    arch: Mapping[str, Any],
    place: Place,
    backbone: nn.Module,
    neck: nn.Module | None,
    head: nn.Module | None,
    head_source: str,
    image_shape: tuple[int, int, int] | None,
) -> None:
    """Raise UserError for parts that do not fit, naming both of them, with the line of the second.

    Where `image_shape` is not known, the extent of maps is not either, and what depends on it is not checked.
    """
    facts: BackboneFacts = backbone.facts  # type: ignore[assignment]
    layers: dict[str, Shape] = {}
    shape: Shape | None = None
    if image_shape is not None or facts.layers or not getattr(backbone, "size_decides_width", False):
        here = place_of(arch, "Backbone", place)
        with recorded(backbone, facts.layers, here) as outputs:
            shape = output_shape(backbone, image_shape or facts.image_shape, here)
        layers = {name: tuple(output.shape[1:]) for name, output in outputs.items()}
        if image_shape is None and getattr(backbone, "size_decides_width", False):
            shape = None
    whole = given = _Given(f"{place.path}.Backbone ({facts.name})", shape, image_shape is not None)
    for part, component, label in _necks(arch, place, neck):
        if getattr(part, "takes_layers", False):
            _check_layers(part, component, label, layers, whole)
        given = _after(part, component, label, given)
    if head is not None:
        component = Component.of(arch["Head"], place.at("Head").path)
        label = f"{place.path}.Head ({component.name})"
        if getattr(head, "takes_layers", False):
            raise _at(component).error(f"{label} reads several layers, which only a neck is given")
        _after(head, component, label, whole if head_source == "backbone" else given)


def _necks(
    arch: Mapping[str, Any], place: Place, neck: nn.Module | None
) -> Iterator[tuple[nn.Module, Component, str]]:
    """Each neck with what the recipe says of it."""
    if neck is None:
        return
    here = place.at("Neck")
    parts = [(neck, arch["Neck"], here)]
    if isinstance(neck, NeckChain):
        parts = [(part, arch["Neck"][index], here.at(index)) for index, part in enumerate(neck)]
    for part, section, at in parts:
        component = Component.of(section, at.path)
        yield part, component, f"{at.path} ({component.name})"


def _after(part: nn.Module, component: Component, label: str, given: _Given) -> _Given:
    """What a part gives, once it is sure that it can take what it is given."""
    shape, taken = given.shape, getattr(part, "in_features", None)
    pools = getattr(part, "keeps_channels", False)
    if pools and shape is not None and len(shape) != 3:
        raise _at(component).error(
            f"{label} pools maps, but {given.label} gives {math.prod(shape)} features: cut the backbone at "
            "its last map (BackboneStopLayer)"
        )
    offered = shape[0] if getattr(part, "takes_maps", False) and shape else given.width
    if taken is not None and offered is not None and taken != offered:
        raise _at(component).error(
            f"{label} takes {taken} features, but {given.label} gives {offered}: make them equal"
        )
    width = getattr(part, "out_features", None)
    if width is not None:
        return _Given(label, (width,))
    if pools:
        return _Given(label, shape and shape[:1])
    return _Given(label, shape if taken is None else None, given.extent_known)


def _check_layers(
    part: nn.Module, component: Component, label: str, layers: Mapping[str, Shape], backbone: _Given
) -> None:
    taken: list[int] = part.in_channels  # type: ignore[assignment]
    offered = [shape[0] for shape in layers.values()]
    if not layers:
        raise _at(component).error(
            f"{label} reads several layers of {backbone.label}: name them there with return_stages or "
            "return_patterns"
        )
    flat = [name for name, shape in layers.items() if len(shape) != 3]
    if flat:
        raise _at(component).error(
            f"{label} takes maps, but the layer '{flat[0]}' of {backbone.label} gives none"
        )
    if taken != offered:
        told = ", ".join(f"{name}: {shape[0]}" for name, shape in layers.items())
        raise _at(component).error(
            f"{label} takes {taken} channels, but the layers of {backbone.label} have {told}: make them equal"
        )


def _at(component: Component) -> Place:
    # the paths of both parts are in the sentence, so that the place is the file and the line only
    return Place().on_line_of(component.place)
