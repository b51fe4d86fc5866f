"""The module that is exported: pictures, or their pixels, to one tensor."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from lookalike.core.errors import UserError
from lookalike.core.log import warn_once
from lookalike.deploy.geometry import Geometry
from lookalike.deploy.graph_input import InputKind
from lookalike.images import Preprocess
from lookalike.images.split import Arithmetic
from lookalike.model import RecModel
from lookalike.recipe import Recipe


class Deployed(nn.Module):
    """What is exported, for pictures (N, C, H, W) as the preprocessing gives them.

    The output `key` of a model; softmax where `Arch.infer_add_softmax` is true; L2 normalisation at the end
    of a feature where `Global.feature_normalize` is true. Before that `reduction` (d, D), where it is not
    None, makes d numbers of D, and `first`, where it is not None, keeps so many of the first ones. The heads
    that no output needs are dropped from the model, and branches are joined where they can be, in place.
    """

    def __init__(self, model: RecModel, key: str, softmax: bool, normalize: bool) -> None:
        super().__init__()
        if key != "logits":
            model.head = None
        model.fuse()
        self.model, self.key, self.softmax, self.normalize = model, key, softmax, normalize
        self.reduction: Tensor | None
        self.register_buffer("reduction", None)
        self.first: int | None = None

    def forward(self, images: Tensor) -> Tensor:
        output = self.model.embed(images, self.key)
        if output.dtype != torch.float32:  # of layers in half precision; the length is to be 1 all the same
            output = output.float()
        if self.softmax:
            output = output.softmax(dim=1)
        if self.reduction is not None:
            output = nn.functional.linear(output, self.reduction)
        if self.first is not None:
            output = output[:, : self.first]
        if self.normalize:
            output = nn.functional.normalize(output, dim=1)
        return output


class FromPixels(nn.Module):
    """A module behind the arithmetic of its preprocessing: RGB pixels (N, H, W, 3) of uint8 in.

    `geometry` makes those of one size of pictures of any.

    Each operation stands in the graph on its own, so that every runtime computes what NumPy does, to the last
    bit. Folding them into one multiplication and one addition, or into the first convolution, would not.
    """

    def __init__(self, module: nn.Module, arithmetic: Arithmetic, geometry: nn.Module | None = None) -> None:
        super().__init__()
        self.module, self.reversed, self.geometry = module, arithmetic.reversed, geometry
        self.operations: list[str] = []
        for index, (operation, values) in enumerate(arithmetic.steps):
            self.operations.append(operation)
            self.register_buffer(
                f"values_{index}", torch.from_numpy(values).reshape(-1, 1, 1), persistent=False
            )

    def forward(self, pixels: Tensor) -> Tensor:
        if self.geometry is not None:
            pixels = self.geometry(pixels)
        # planes of bytes are moved, not planes of floats
        planes = pixels.permute(0, 3, 1, 2)
        if self.reversed:
            planes = planes[:, [2, 1, 0]]
        values = planes.float()
        for index, operation in enumerate(self.operations):
            values = getattr(torch, operation)(values, self.get_buffer(f"values_{index}"))
        return self.module(values)


def taking(module: Deployed, input: InputKind, preprocess: Preprocess) -> nn.Module:
    """A module for what a model folder says that its graph takes.

    Raises UserError as `Preprocess.split` and `Geometry`.
    """
    if input == "float32_nchw":
        return module
    geometry = Geometry(preprocess) if input == "uint8_nhwc_any_size" else None
    return FromPixels(module, preprocess.split().arithmetic, geometry)


def output_key(recipe: Recipe) -> str:
    """The output that is exported: `Arch.infer_output_key`, by default the feature that is scored."""
    return str(recipe.network.get("infer_output_key") or recipe.global_.retrieval_feature_from)


def deployed_module(recipe: Recipe, model: RecModel) -> Deployed:
    """The module that a recipe exports, of a copy of its model. Raises UserError for an unknown output."""
    arch = recipe.network
    scored, key = recipe.global_.retrieval_feature_from, output_key(recipe)
    if key in ("backbone", "features") and key != scored:
        warn_once(f"Arch.infer_output_key is '{key}', but Global.retrieval_feature_from scores '{scored}'")
    model = copy.deepcopy(model).float().cpu().eval()
    known = model.output_names()
    if key not in known:
        raise UserError(f"{recipe.name}: Arch.infer_output_key is '{key}'; this model has {', '.join(known)}")
    softmax = arch.get("infer_add_softmax")
    softmax = key == "logits" if softmax is None else bool(softmax)
    if softmax and key != "logits":
        warn_once(
            f"Arch.infer_add_softmax is true although the output is '{key}': its values will sum to one"
        )
    normalize = bool(recipe.global_.feature_normalize) and key != "logits" and not softmax
    return Deployed(model, key, softmax, normalize).eval()
