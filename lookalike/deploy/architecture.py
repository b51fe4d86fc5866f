"""From an exported module to a folder and back: its modules by their names in a recipe, and their weights.

The manifest keeps what it takes to build the module again, `Arch` without all that is about training:

    "architecture": {
      "arch": {"Backbone": {"name": "PPLCNet_x2_5"}, "BackboneStopLayer": {"name": "flatten"}, "Neck": {…}},
      "reference_behaviour": false,
      "softmax": false,
      "first": null
    }

Names are looked up in the registries and weights are read from safetensors, so that no file runs code. What
was pruned or rounds says so in the header of the weights (`lookalike.model.slim.structure`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ConfigDict, TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from lookalike.core.errors import UserError
from lookalike.deploy.deployed import Deployed, taking
from lookalike.deploy.model_folder import MANIFEST, ModelFolder
from lookalike.model import build_rec_model
from lookalike.model.build import PRETRAINED_OPTIONS
from lookalike.model.slim.rebuild import rebuild_for
from lookalike.model.slim.structure import metadata_of
from lookalike.recipe import Recipe
from lookalike.recipe.tree import plain

_OF_ARCH = ("name", "Backbone", "BackboneStopLayer", "Neck", "head_feature_from")
_REDUCTION = "reduction"
"""The key of the weights that make fewer numbers of a feature."""
_OF_TRAINING = (*PRETRAINED_OPTIONS, "freeze_before", "freeze_befor")


@dataclass(frozen=True)
class Architecture:
    """What builds an exported module again: `Arch`, what of `Global` changes the arithmetic, and how many of
    the first numbers of a feature are kept, where not all are.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    arch: dict[str, Any]
    reference_behaviour: bool = False
    softmax: bool = False
    first: int | None = None

    @classmethod
    def of(cls, recipe: Recipe, module: Deployed) -> Architecture:
        """The architecture of the module that a recipe exports."""
        keys = (*_OF_ARCH, "Head") if module.key == "logits" else _OF_ARCH
        block = plain(recipe.network)
        arch = {key: block[key] for key in keys if block.get(key) is not None}
        backbone = arch["Backbone"]
        if isinstance(backbone, Mapping):
            arch["Backbone"] = {key: value for key, value in backbone.items() if key not in _OF_TRAINING}
        return cls(arch, recipe.global_.reference_behaviour, module.softmax, module.first)

    @classmethod
    def read(cls, folder: ModelFolder) -> Architecture:
        """What the manifest of a folder says. Raises UserError where it is damaged or says nothing."""
        try:
            return TypeAdapter(cls).validate_json(json.dumps(folder.architecture))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, ("architecture", *first["loc"])))
            raise UserError(f"{folder.path / MANIFEST} is damaged: {where}: {first['msg']}") from None

    def to_json(self) -> dict[str, Any]:
        """What goes into the manifest."""
        return asdict(self)


def write_weights(module: Deployed, file: Path) -> None:
    """Write the weights of an exported module."""
    # safetensors refuses tensors that share memory or are not contiguous
    state = {name: value.contiguous().clone() for name, value in module.model.state_dict().items()}
    if module.reduction is not None:
        state[_REDUCTION] = module.reduction
    # `save_file` would make a file that nobody else may read
    file.write_bytes(save(state, metadata_of(module.model)))


def load_torch(folder: str | Path | ModelFolder) -> nn.Module:
    """The module of a model folder in PyTorch, on the CPU, in evaluation mode.

    It takes pictures as the graph does and gives its features; of a folder whose graph is in int8 or half
    precision, the features before that.

        module = load_torch("inference")
        features = module(torch.from_numpy(preprocess("a.jpg")[None]))      # (1, 512)

    Raises UserError where the architecture or the weights are missing or damaged, or do not belong together.
    """
    opened = folder if isinstance(folder, ModelFolder) else ModelFolder.open(folder)
    described = Architecture.read(opened)
    file = opened.weights_file
    if not file.is_file():
        raise UserError(f"{opened.path}: PyTorch needs {file.name}, which is missing: export the model again")
    try:
        model = build_rec_model(described.arch, described.reference_behaviour, pretrained=False)
        rebuild_for(model, file, str(file))
    except UserError as error:
        raise UserError(f"{opened.path / MANIFEST}: {error}") from None
    module = Deployed(model.eval(), opened.output, described.softmax, opened.normalized).eval()
    try:
        state = load_file(file)
        module.reduction = state.pop(_REDUCTION, None)
        module.first = described.first
        module.model.load_state_dict(state)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{file}: is not a safetensors file, or is broken ({error})") from None
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{file}: does not hold the weights that {MANIFEST} describes: {reason}") from None
    return taking(module, opened.input, opened.preprocessing()).eval()
