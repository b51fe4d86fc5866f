"""Running a training checkpoint as an Embedder, also at any layer in its middle. Needs torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from lookalike.core.component import Place
from lookalike.core.errors import UserError
from lookalike.core.files import as_path
from lookalike.deploy.deployed import deployed_module, output_key
from lookalike.deploy.embedder import Embedder
from lookalike.deploy.export.from_recipe import trained_model
from lookalike.deploy.model_folder import MANIFEST
from lookalike.deploy.preprocessing import recipe_preprocess
from lookalike.deploy.runtimes.runtime import Precision
from lookalike.deploy.runtimes.torch_runtime import TorchRuntime, torch_device
from lookalike.model import RecModel, as_vectors
from lookalike.recipe import Recipe, load_recipe


class LayerFeatures(nn.Module):
    """The outputs of modules of a model as vectors, one behind the other in the order in which they are
    named.

    A map (N, C, H, W) is averaged over its places, tokens too.
    """

    def __init__(self, model: RecModel, layers: Sequence[str]) -> None:
        super().__init__()
        self.model, self.layers = model, list(layers)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        outputs = self.model.several_at(images, self.layers, Place("--layer"))
        return torch.cat([as_vectors(outputs[layer]) for layer in self.layers], dim=1)


def embedder_of_checkpoint(
    checkpoint: str | Path, *, layer: str | Sequence[str] | None = None, **options: Any
) -> Embedder:
    """An Embedder over a checkpoint folder, which holds its recipe. options: of `embedder_of_recipe`."""
    folder = as_path(checkpoint, "a checkpoint")
    recipe_file = folder / "recipe.yaml"
    if not recipe_file.is_file():
        raise UserError(
            f"{folder} is neither a model folder nor a checkpoint: no {MANIFEST} and no recipe.yaml there"
        )
    recipe = load_recipe(recipe_file)
    recipe.global_.pretrained_model = str(folder)
    return embedder_of_recipe(recipe, layer=layer, **options)


def embedder_of_recipe(
    recipe: Recipe,
    *,
    layer: str | Sequence[str] | None = None,
    device: str = "cpu",
    precision: Precision = "fp32",
    compile: bool = False,
) -> Embedder:
    """An Embedder over the model of a recipe and the weights that `Global.pretrained_model` names.

    The other options are those of `Embedder`.
    """
    layers = [layer] if isinstance(layer, str) else list(layer or [])
    model = trained_model(recipe, output_key(recipe), watched=layers)
    module: nn.Module = LayerFeatures(model, layers) if layers else deployed_module(recipe, model)
    preprocess = recipe_preprocess(recipe)
    size = _size(module, preprocess.image_shape or recipe.global_.image_shape)
    runtime = TorchRuntime(module, torch_device(device), precision=precision, compile=compile)
    binarize = None if layers else recipe.global_.feature_binarize
    named = layers[0] if len(layers) == 1 else layers
    kind = [named or output_key(recipe), size, recipe.global_.feature_normalize, binarize]
    fingerprint = _fingerprint(model, [preprocess.to_json(), kind])
    return Embedder.of(runtime, preprocess, size, binarize, fingerprint, str(recipe.weights or recipe.name))


def _size(module: nn.Module, shape: Sequence[int]) -> int:
    """Of a feature, found with one picture, before anything is compiled for batches of that size."""
    with torch.inference_mode():
        return int(module.eval()(torch.zeros((1, *shape))).shape[1])


def _fingerprint(model: nn.Module, described: list[Any]) -> str:
    """Hash of all weights, the preprocessing and the kind of feature, as that of a model folder."""
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(value.cpu().numpy()).tobytes())
    return f"checkpoint:{digest.hexdigest()}"
