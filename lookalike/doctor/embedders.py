"""How each network is asked for an embedding: its arguments, and where it ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lookalike.core.errors import UserError
from lookalike.model.backbones.reference_zoo import is_mapped
from lookalike.model.backbones.timm_models import PREFIX
from lookalike.model.weights.urls import pretrained_url


@dataclass(frozen=True)
class Ask:
    """`sized` are the arguments that build a network for pictures of another size than its own; empty for
    those that take many sizes, or one only.
    """

    arguments: Mapping[str, Any] = field(default_factory=dict)
    stop_layer: str | None = "flatten"
    sized: Mapping[str, Any] = field(default_factory=dict)
    of_timm: bool = False


def ask(name: str, size: int) -> Ask:
    """What a recipe says of a backbone to get features of pictures of a size. Most end at `flatten`, behind
    the global pooling; a name that is unknown is no matter here.
    """
    if name.startswith(PREFIX):
        return Ask(stop_layer=None, sized={"img_size": size}, of_timm=True)
    if is_mapped(name):
        return Ask(sized={"img_size": size}, of_timm=True)
    if name == "Conv4":
        # a small last map in a row says where a stroke is; a large one would be too many numbers
        return Ask({"widths": [32, 64, 128, 256], "pool": "none" if size < 48 else "average"})
    if name == "WideResNet":  # as FixMatch has it; its classifier is cut off
        return Ask({"depth": 28, "widen_factor": 2, "dropout": 0.0, "num_classes": 10})
    if name.startswith("AdaFace_"):  # made for embeddings: they are what comes out
        return Ask(stop_layer=None, sized={"input_size": [size, size]})
    if name.startswith("CLIP_"):
        return Ask({"return_embed": True, "return_mean_embed": True}, stop_layer=None)
    if name.startswith("SwinTransformer_"):
        return Ask(stop_layer="avgpool")
    if name == "AlexNet":  # before the classifier, as its flattened map holds 9216 numbers
        return Ask(stop_layer="relu7")
    if name.startswith("VGG"):  # likewise, of 25088
        return Ask(stop_layer="relu2")
    return Ask()


def why_not_fetched(name: str) -> str:
    """Why `pretrained: True` cannot fetch weights for a backbone; empty where it can. Fetches nothing."""
    if name.startswith(PREFIX):
        import timm

        found = timm.get_pretrained_cfg(name.removeprefix(PREFIX))
        known = found is not None and bool(found.has_weights)
        return "" if known else f"timm knows no published weights of {name}; give a file, or false"
    try:
        pretrained_url(name)
    except UserError as error:
        return str(error)
    return ""
