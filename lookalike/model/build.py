"""Building a model from what a recipe holds under `Arch`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from lookalike.core import process
from lookalike.core.component import Component, Place, Section, place_of
from lookalike.core.errors import UserError, did_you_mean
from lookalike.core.log import logger, warn_once
from lookalike.model import backbones as _backbones  # noqa: F401  fills the registry
from lookalike.model import feature_pyramid as _feature_pyramid  # noqa: F401
from lookalike.model import heads as _heads  # noqa: F401
from lookalike.model import necks as _necks  # noqa: F401
from lookalike.model import pooling as _pooling  # noqa: F401
from lookalike.model.backbones import reference_zoo, timm_models
from lookalike.model.batch_norm import use_biased_running_variance
from lookalike.model.distillation import DISTILLATION, BackboneScores, DistillationModel, build_distillation
from lookalike.model.fitting import check_fit
from lookalike.model.freezing import freeze, is_norm
from lookalike.model.heads import MarginHead
from lookalike.model.layer_options import LAYER_OPTIONS, layer_choice
from lookalike.model.layer_outputs import (
    existing_layers,
    freeze_without_gradient,
    stop_gradient,
    watched_path,
)
from lookalike.model.necks import NeckChain
from lookalike.model.rec_model import BackboneFacts, RecModel
from lookalike.model.registries import backbones, heads, necks
from lookalike.model.stop_layers import DOCUMENT_NAMES, cut, layer_path
from lookalike.model.weights.load import load_weights
from lookalike.model.weights.urls import pretrained_url, published

PRETRAINED_OPTIONS = (
    "pretrained",
    "use_ssld",
    "use_ssld_stage1_pretrained",
    "use_imagenet22k_pretrained",
    "use_imagenet22kto1k_pretrained",
)
"""Arguments about weights that every backbone takes beside its own."""

Model = RecModel | DistillationModel
"""What a recipe's `Arch` makes."""

_ARCH = Place("Arch")
_ARCH_KEYS = (
    "name",
    "infer_output_key",
    "infer_add_softmax",
    "is_rec",
    "Backbone",
    "BackboneStopLayer",
    "Neck",
    "Head",
    "head_feature_from",
    "freeze",
    "freeze_norm_statistics",
    "use_sync_bn",
)


def build_backbone(
    section: Any,
    path: str = "Arch.Backbone",
    *,
    stop_layer: str | None = None,
    stop_place: Place | None = None,
    pretrained: bool = True,
    reference_behaviour: bool = False,
    image_shape: tuple[int, int, int] | None = None,
    watched: Sequence[str] = (),
) -> nn.Module:
    """Build a backbone, cut it at the stop layer, and load its pretrained weights.

    `section` names a registered backbone, one of the reference's zoo that timm has (docs/backbones.md), or
    `timm/<name>`. Its arguments may hold `pretrained: true | path | URL`, which `pretrained=False` leaves
    aside (for a model whose weights come from a checkpoint anyway); `return_patterns` and `return_stages`,
    layers whose outputs a model gives as well; and `freeze_before` (`freeze_befor` in the reference), a layer
    that no gradient passes: what leads to nothing but it does not learn, though its batch norms go on
    measuring. `watched` are layers that will be looked at later.

    The module carries `facts`: its name, the keys of weights that the cut left out, timm's grouping of its
    layers, the layers to return. Raises UserError for an unknown name, argument, layer or file.
    """
    component = Component.of(section, path)
    options = {key: component.arguments.get(key) for key in PRETRAINED_OPTIONS}
    named_as_timm, mapped = timm_models.is_timm(component.name), reference_zoo.is_mapped(component.name)
    from_timm = named_as_timm or mapped
    if not from_timm and component.name not in backbones and component.name in published("imagenet"):
        raise component.place.error(
            f"{component.name}: the reference has this network, but it is neither here nor in timm; see "
            "docs/backbones.md for those that are"
        )
    wanted = (options["pretrained"] or False) if pretrained else False
    if not isinstance(wanted, (bool, str)):
        raise component.place_of("pretrained").error(f"must be true, false, a path or a URL, got {wanted!r}")
    asked = next((key for key in PRETRAINED_OPTIONS[1:] if options[key]), None)
    if named_as_timm and asked is not None:
        raise component.place_of(asked).error(
            f"{asked} asks for weights of the reference, which timm's networks do not have"
        )
    if from_timm:
        beside = (*PRETRAINED_OPTIONS, *LAYER_OPTIONS)
        own = {key: value for key, value in component.arguments.items() if key not in beside}
        own_component = component.with_arguments(own)
        if mapped:
            pooled = stop_layer is not None and _names_end(stop_layer)
            module = reference_zoo.create(own_component, pooled)
        else:
            module = timm_models.create(own_component, wanted is True)
    else:
        module = backbones.build(
            component, also=(*PRETRAINED_OPTIONS, *LAYER_OPTIONS), reference_behaviour=reference_behaviour
        )
    before = set(module.state_dict())
    removed = timm_models.classifier_keys(module) if from_timm else set()
    matcher = timm_models.layer_matcher(module) if from_timm else None
    own_shape = timm_models.input_size(module) if from_timm else getattr(module, "image_shape", (3, 224, 224))
    shape = image_shape or own_shape
    chosen = layer_choice(module, component, shape)
    frozen_before = chosen.frozen_before
    if stop_layer is not None and not (from_timm and _is_pooled_cut(module, stop_layer)):
        paths = [*chosen.returned.values(), *([frozen_before] if frozen_before else [])]
        paths += existing_layers(module, watched)
        module = cut(module, stop_layer, stop_place, paths)
    removed |= before - set(module.state_dict())
    returned = {name: watched_path(module, layer) for name, layer in chosen.returned.items()}
    if frozen_before is not None:
        frozen_before = watched_path(module, frozen_before)
        stop_gradient(module.get_submodule(frozen_before))
        freeze_without_gradient(module, shape)
    facts = BackboneFacts(component.name, frozenset(removed), matcher, shape, returned, frozen_before)
    module.facts = facts  # type: ignore[assignment]
    if wanted and not (named_as_timm and wanted is True):
        source = (
            wanted
            if isinstance(wanted, str)
            else pretrained_url(
                component.name,
                ssld=bool(options["use_ssld"]),
                ssld_stage1=bool(options["use_ssld_stage1_pretrained"]),
                imagenet22k=bool(options["use_imagenet22k_pretrained"]),
                imagenet22kto1k=options["use_imagenet22kto1k_pretrained"],
                place=component.place,
            )
        )
        load_weights(module, source)
    return module


def _is_pooled_cut(module: nn.Module, name: str) -> bool:
    """Whether a stop layer names the end of the reference's networks, where one of timm is cut anyway."""
    return _names_end(name) and "flatten" not in dict(module.named_modules())


def _names_end(name: str) -> bool:
    """Whether a stop layer is what the reference calls the pooled features."""
    path = layer_path(name)
    return DOCUMENT_NAMES.get(path, path) == "flatten"


def build_neck(section: Any, path: str = "Arch.Neck", reference_behaviour: bool = False) -> nn.Module:
    """Build a neck; a list of them makes a `NeckChain`. Raises UserError for an unknown name or argument."""
    if isinstance(section, (list, tuple)):
        return NeckChain(
            *(
                necks.build(entry, f"{path}[{index}]", reference_behaviour=reference_behaviour)
                for index, entry in enumerate(section)
            )
        )
    return necks.build(section, path, reference_behaviour=reference_behaviour)


def build_head(section: Any, path: str = "Arch.Head", reference_behaviour: bool = False) -> nn.Module:
    """Build a head. Raises UserError, with its place, for an unknown name and for what the head refuses."""
    component = Component.of(section, path)
    try:
        return heads.build(component, reference_behaviour=reference_behaviour)
    except UserError as error:
        raise component.place.around(error) from None


def build_model(
    arch: Mapping[str, Any],
    reference_behaviour: bool = False,
    pretrained: bool = True,
    image_shape: tuple[int, int, int] | None = None,
    watched: Sequence[str] = (),
) -> Model:
    """Build the model of a recipe from its `Arch` block: a RecModel, or a DistillationModel of several.

    `reference_behaviour` keeps the running variance of batch norms as Paddle does; `pretrained=False` skips
    the download of the backbone's weights, for a model that gets those of a checkpoint; `image_shape` (C, H,
    W) lets the sizes be checked where they depend on that of the pictures; `watched` names layers that will
    be looked at (`RecModel.several_at`), which a backbone that is cut inside a block has to know.

    Raises UserError for unknown names and arguments, and for parts whose sizes do not fit.
    """
    place = arch.place if isinstance(arch, Section) and arch.place.path else Place("Arch")
    options = (reference_behaviour, pretrained, image_shape, watched)
    if arch.get("name") != DISTILLATION:
        return build_rec_model(arch, *options, place=place)

    def one(block: Mapping[str, Any], at: Place) -> RecModel:
        alone = "Backbone" not in block and block.get("name") != "RecModel"
        model = build_rec_model({"Backbone": block} if alone else block, *options, place=at)
        if alone:
            model.head = BackboneScores()
        return _with_synchronised_norms(model, place) if arch.get("use_sync_bn") else model

    return build_distillation(arch, place, one, pretrained)


def build_rec_model(
    arch: Mapping[str, Any],
    reference_behaviour: bool = False,
    pretrained: bool = True,
    image_shape: tuple[int, int, int] | None = None,
    watched: Sequence[str] = (),
    place: Place = _ARCH,
) -> RecModel:
    """Build one RecModel; see `build_model`. `place` is where the block stands, if it does not know
    itself.
    """
    place = arch.place if isinstance(arch, Section) and arch.place.path else place
    _check_keys(arch, place)
    stop = arch.get("BackboneStopLayer")
    stop_place = stop.place if isinstance(stop, Section) else place.at("BackboneStopLayer")
    if stop is not None and not (isinstance(stop, Mapping) and isinstance(stop.get("name"), str)):
        raise stop_place.error(f"expected {{name: LAYER}}, got {stop!r}")
    backbone = build_backbone(
        arch["Backbone"],
        place.at("Backbone").path,
        stop_layer=stop["name"] if stop else None,
        stop_place=stop_place,
        pretrained=pretrained,
        reference_behaviour=reference_behaviour,
        image_shape=image_shape,
        watched=watched,
    )
    neck = (
        build_neck(arch["Neck"], place.at("Neck").path, reference_behaviour=reference_behaviour)
        if arch.get("Neck")
        else None
    )
    if neck is not None and any(isinstance(part, MarginHead) and part.sizes for part in neck.modules()):
        raise place.at("Neck").error("'sizes' are for a head: a neck gives one output")
    head = (
        build_head(arch["Head"], place.at("Head").path, reference_behaviour=reference_behaviour)
        if arch.get("Head")
        else None
    )
    source = arch.get("head_feature_from", "neck")
    if source not in ("neck", "backbone"):
        raise place_of(arch, "head_feature_from", place).error(
            f"must be 'neck' or 'backbone', got {source!r}"
        )
    check_fit(arch, place, backbone, neck, head, source, image_shape)
    model = RecModel(
        backbone,
        neck,
        head,
        source,
        arch.get("infer_output_key"),
        bool(arch.get("infer_add_softmax", False)),
    )
    if arch.get("use_sync_bn"):
        model = _with_synchronised_norms(model, place)
    if reference_behaviour:
        use_biased_running_variance(model)
    if arch.get("freeze"):
        _freeze(model, arch, place)
    return model


def _with_synchronised_norms(model: RecModel, place: Place) -> RecModel:
    """Batch norms whose statistics are those of the batches of all processes; possible on GPUs only."""
    if process.world_size() == 1 or not torch.cuda.is_available():
        warn_once(f"{place}: 'use_sync_bn' has no effect without several processes on GPUs")
        return model
    model = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
    if model.facts.frozen_before is not None:  # a batch norm that was replaced has lost its hook
        stop_gradient(model.backbone.get_submodule(model.facts.frozen_before))
    return model


def _check_keys(arch: Mapping[str, Any], place: Place) -> None:
    name = arch.get("name", "RecModel")
    if name != "RecModel":
        known = ["RecModel", DISTILLATION]
        near = did_you_mean(str(name), known)
        raise place_of(arch, "name", place).error(
            f"unknown architecture '{name}'{near} (known: {', '.join(known)})"
        )
    for key in arch:
        if key not in _ARCH_KEYS:
            near = did_you_mean(key, _ARCH_KEYS) or "."
            line = place.on_line_of(place_of(arch, key, place))
            raise line.error(f"unknown key '{key}'{near} (accepts: {', '.join(_ARCH_KEYS)})")
    if not arch.get("Backbone"):
        raise place.error("a RecModel needs a Backbone")


def _freeze(model: RecModel, arch: Mapping[str, Any], place: Place) -> None:
    """`freeze` names what does not learn; `freeze_norm_statistics` says which batch norms keep their
    statistics: those of frozen parts (true), none (false), or all of the backbone, whose scales and offsets
    may learn all the same (`all`).
    """
    patterns = arch["freeze"]
    patterns = [patterns] if isinstance(patterns, str) else patterns
    if not isinstance(patterns, (list, tuple)) or not all(isinstance(pattern, str) for pattern in patterns):
        raise place_of(arch, "freeze", place).error(f"must be a list of names, got {patterns!r}")
    norms = freeze(model, patterns, place_of(arch, "freeze", place))
    kept = arch.get("freeze_norm_statistics", True)
    if kept == "all":
        norms = [
            name for name, part in model.named_modules() if is_norm(part) and name.startswith("backbone.")
        ]
    elif not isinstance(kept, bool):
        raise place_of(arch, "freeze_norm_statistics", place).error(
            f"must be true, false or 'all', got {kept!r}"
        )
    if kept:
        model.frozen_norms = norms
        model.train(model.training)
    count = sum(parameter.numel() for parameter in model.parameters() if not parameter.requires_grad)
    logger.info("%d parameters are frozen (%s)", count, ", ".join(patterns))
