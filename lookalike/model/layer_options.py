"""What a recipe says of a backbone's layers: which outputs are returned, and where gradients stop."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import nn

from lookalike.core.component import Component
from lookalike.model.layer_outputs import layers_of
from lookalike.model.rec_model import OUTPUT_NAMES
from lookalike.model.stages import chosen_stages, stage_layers
from lookalike.model.stop_layers import find_layer

LAYER_OPTIONS = ("return_patterns", "return_stages", "freeze_before", "freeze_befor")
"""Arguments that every backbone takes beside its own; `freeze_befor` is how the reference spells it."""


@dataclass(frozen=True)
class LayerChoice:
    """Paths of layers in a backbone as it was built, before it is cut."""

    returned: dict[str, str] = field(default_factory=dict)
    """Those whose outputs the model gives, by the names under which it gives them."""
    frozen_before: str | None = None
    """The one whose output no gradient passes."""


def layer_choice(module: nn.Module, component: Component, image_shape: tuple[int, int, int]) -> LayerChoice:
    """Read `LAYER_OPTIONS`. Raises UserError for a layer or stage that does not exist, with its line."""
    returned = _patterns(module, component) | _stages(module, component, image_shape)
    for name in returned:
        if name in OUTPUT_NAMES:
            raise component.place.error(
                f"no layer can be returned as '{name}', which is what the model calls another of its outputs"
            )
    return LayerChoice(returned, _frozen_before(module, component))


def _patterns(module: nn.Module, component: Component) -> dict[str, str]:
    place = component.place_of("return_patterns")
    patterns = component.arguments.get("return_patterns") or []
    patterns = [patterns] if isinstance(patterns, str) else patterns
    if not isinstance(patterns, (list, tuple)) or not all(isinstance(each, str) for each in patterns):
        raise place.error(f"must be a list of names of layers, got {patterns!r}")
    return layers_of(module, patterns, place)


def _stages(module: nn.Module, component: Component, image_shape: tuple[int, int, int]) -> dict[str, str]:
    place = component.place_of("return_stages")
    wanted = component.arguments.get("return_stages")
    if wanted is None or wanted is False:
        return {}
    numbers = wanted if isinstance(wanted, (list, tuple)) else [wanted]
    if not all(isinstance(number, int) for number in numbers):
        raise place.error(f"must be true, the number of a stage or a list of them, got {wanted!r}")
    chosen = chosen_stages(stage_layers(module, image_shape), wanted, place)
    return layers_of(module, chosen, place)


def _frozen_before(module: nn.Module, component: Component) -> str | None:
    given = [key for key in ("freeze_before", "freeze_befor") if component.arguments.get(key) is not None]
    if not given:
        return None
    place, name = component.place_of(given[0]), component.arguments[given[0]]
    if len(given) > 1:
        raise place.error("'freeze_befor' and 'freeze_before' are one key; keep one of them")
    if not isinstance(name, str):
        raise place.error(f"must be the name of a layer, got {name!r}")
    return find_layer(module, name, place)
