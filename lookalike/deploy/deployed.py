"""The module that is exported: pictures to one tensor."""

from __future__ import annotations

import copy

from torch import Tensor, nn

from lookalike.core.errors import UserError
from lookalike.core.log import warn_once
from lookalike.model import RecModel
from lookalike.recipe import Recipe


class Deployed(nn.Module):
    """What is exported, for pictures (N, C, H, W) as the preprocessing gives them.

    The output `key` of a model; softmax where `Arch.infer_add_softmax` is true; L2 normalisation at the end
    of a feature where `Global.feature_normalize` is true. The heads that no output needs are dropped from
    the model, and branches are joined where they can be, in place.
    """

    def __init__(self, model: RecModel, key: str, softmax: bool, normalize: bool) -> None:
        super().__init__()
        if key != "logits":
            model.head = None
        model.fuse()
        self.model, self.key, self.softmax, self.normalize = model, key, softmax, normalize

    def forward(self, images: Tensor) -> Tensor:
        output = self.model.embed(images, self.key)
        if self.softmax:
            output = output.softmax(dim=1)
        if self.normalize:
            output = nn.functional.normalize(output, dim=1)
        return output


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
