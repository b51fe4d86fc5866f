"""Every network of timm as a backbone: `timm/<name>`, any argument of `timm.create_model` beside it.

Without a stop layer a network is cut at its pooled features.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from torch import nn

from lookalike.core.component import Component
from lookalike.core.errors import LookalikeError, UserError, did_you_mean, line_of
from lookalike.core.hub import why_out_of_reach
from lookalike.model.backbones.timm_weights import cached_file

PREFIX = "timm/"
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Normalisation:
    """What the pretrained weights of a backbone expect of a picture: RGB in 0..1, (x - mean) / std."""

    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    input_size: tuple[int, int, int] = (3, 224, 224)
    interpolation: str = "bilinear"
    crop_share: float = 0.875


def is_timm(name: str) -> bool:
    return name.startswith(PREFIX)


def timm_name(component: Component) -> str:
    """The name without `timm/`. Raises UserError that names the nearest network."""
    import timm

    name = component.name.removeprefix(PREFIX)
    if not timm.is_model(name):
        architecture = name.split(".")[0]
        # the networks whose name holds the text, then those that are spelled alike
        known = timm.list_models()
        near = sorted((other for other in known if architecture and architecture in other), key=len)
        near += [
            other for other in get_close_matches(architecture, known, n=5, cutoff=0.3) if other not in near
        ]
        nearest = f"nearest: {', '.join(PREFIX + other for other in near[:5])}; " if near else ""
        raise component.place.error(
            f"timm has no network '{name}'{did_you_mean(architecture, known)} "
            f"({nearest}all names: timm.list_models())"
        )
    return name


def create(component: Component, pretrained: bool = False) -> nn.Module:
    """Build a network of timm.

    Raises UserError for an argument that it does not take, LookalikeError for weights that cannot be fetched.
    """
    import timm

    name = timm_name(component)
    arguments: dict[str, Any] = {"num_classes": 0, **component.arguments}
    if "class_num" in arguments:
        arguments["num_classes"] = arguments.pop("class_num")
    if "checkpoint_path" in arguments:
        raise component.place_of("checkpoint_path").error(
            "use 'pretrained: PATH' to load weights from a file"
        )
    if pretrained:
        arguments |= _without_the_hub(component, name)
    try:
        return timm.create_model(name, pretrained=pretrained, **arguments)
    except TypeError as error:
        raise component.place.error(f"timm's {name} does not take these arguments: {error}") from error
    except Exception as error:
        if not pretrained:
            raise component.place.error(f"timm cannot build {name}: {error}") from error
        raise _not_fetched(component, name, line_of(error)) from error


def _without_the_hub(component: Component, name: str) -> dict[str, Any]:
    """Arguments that make timm read its weights from the disk, where the hub is out of reach.

    Raises LookalikeError where they are not there either.
    """
    import timm

    configuration = timm.get_pretrained_cfg(name)
    if configuration is None or not configuration.hf_hub_id:
        return {}
    reason = why_out_of_reach()
    if reason is None:
        return {}
    kept = cached_file(configuration)
    if kept is None:
        raise _not_fetched(component, name, reason)
    return {"pretrained_cfg_overlay": {"file": kept}}


def _not_fetched(component: Component, name: str, reason: str) -> LookalikeError:
    return LookalikeError(
        f"{component.place}: the pretrained weights of {name} cannot be fetched from the hub ({reason}); "
        "with 'pretrained: PATH' they are read from a file"
    )


def classifier_keys(module: nn.Module) -> set[str]:
    """Keys of the classifier of a network of timm that is cut at its pooled features."""
    configuration = getattr(module, "pretrained_cfg", None) or {}
    names = configuration.get("classifier") or ()
    names = (names,) if isinstance(names, str) else tuple(names)
    present = set(module.state_dict())
    return {f"{name}.{kind}" for name in names for kind in ("weight", "bias")} - present


def layer_matcher(module: nn.Module) -> Any:
    """How timm groups the parameters of a network from stem to end; None where it does not say."""
    group = getattr(module, "group_matcher", None)
    return group() if callable(group) else None


def input_size(module: nn.Module) -> tuple[int, int, int]:
    """Shape of the pictures that a network of timm was built for."""
    size = (getattr(module, "pretrained_cfg", None) or {}).get("input_size") or (3, 224, 224)
    patches = getattr(module, "patch_embed", None)
    own = getattr(patches, "img_size", None)
    height, width = own if isinstance(own, (tuple, list)) else size[1:]
    channels = getattr(module, "in_chans", None) or size[0]
    return int(channels), int(height), int(width)


def backbone_normalisation(name: str) -> Normalisation:
    """Mean, standard deviation and input size that a backbone's pretrained weights expect.

    Raises UserError for an unknown name.
    """
    from lookalike.model.backbones.reference_names import REFERENCE_NAMES
    from lookalike.model.registries import backbones

    twin = REFERENCE_NAMES.get(name)
    if not is_timm(name) and twin is None:
        backbones.entry(name)
        if name.startswith("AdaFace_"):  # as faces are cut out and prepared for it
            return Normalisation((0.5,) * 3, (0.5,) * 3, (3, 112, 112))
        return Normalisation()
    import timm

    component = Component(PREFIX + twin.timm_name if twin else name)
    found = timm.get_pretrained_cfg(timm_name(component))
    if found is None:
        raise UserError(f"timm knows no input size and normalisation for '{name}'")
    return Normalisation(
        tuple(found.mean),
        tuple(found.std),
        (found.input_size[0], found.input_size[1], found.input_size[2]),
        found.interpolation,
        float(found.crop_pct or 1.0),
    )
