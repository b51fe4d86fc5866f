"""RecModel: backbone → neck → head."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lookalike.core.component import Place
from lookalike.core.errors import UserError
from lookalike.model.shapes import output_shape
from lookalike.model.stop_layers import layer_aliases, output_of

_LAYER = Place("layer")

FeatureName = Literal["backbone", "neck", "features", "logits"]


@dataclass(frozen=True)
class BackboneFacts:
    """What is known of a backbone beside its layers."""

    name: str = ""
    removed_keys: frozenset[str] = frozenset()
    """Keys of weights that a file may hold and that the stop layer cut away."""
    layer_matcher: Any = None
    """How timm groups the parameters from stem to end, where it is one of timm's."""
    image_shape: tuple[int, int, int] = (3, 224, 224)


class RecModel(nn.Module):
    """Pictures in, embedding and class scores out.

    `forward` gives a dict: `backbone` (what the backbone gives), `neck` where there is one, `features` (of
    the neck, else of the backbone: the embedding), `logits` where there is a head. Built by `build_model`.
    """

    def __init__(
        self,
        backbone: nn.Module,
        neck: nn.Module | None = None,
        head: nn.Module | None = None,
        head_feature_from: Literal["neck", "backbone"] = "neck",
        infer_output_key: str | None = None,
        infer_add_softmax: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.neck = neck
        self.head = head
        self.head_feature_from = head_feature_from
        self.infer_output_key = infer_output_key
        self.infer_add_softmax = infer_add_softmax
        self.class_num: int | None = getattr(head, "class_num", None)
        self.frozen_norms: list[str] = []
        self.facts: BackboneFacts = getattr(backbone, "facts", BackboneFacts())

    def forward(self, images: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        """(N, C, H, W) and, for heads with a margin, labels (N,) or (N, 1).

        Raises UserError for a label outside 0 … class_num - 1 (looked at on the CPU only: on a GPU it would
        stall the stream).
        """
        if labels is not None:
            labels = labels.reshape(-1)
            if labels.device.type == "cpu":
                self.check_labels(labels)
        outputs = {"backbone": self.backbone(images)}
        outputs["features"] = outputs["backbone"]
        if self.neck is not None:
            outputs["neck"] = outputs["features"] = self.neck(outputs["backbone"])
        if self.head is not None:
            source = outputs["backbone" if self.head_feature_from == "backbone" else "features"]
            outputs["logits"] = self.head(source, labels)
        return outputs

    def output_names(self) -> list[str]:
        """The keys of what `forward` gives."""
        neck = ["neck"] if self.neck is not None else []
        return ["backbone", "features", *neck, *(["logits"] if self.head is not None else [])]

    def embed(self, images: Tensor, key: str = "features") -> Tensor:
        """The embeddings (N, D) without the class scores: `features`, `backbone` or `neck`."""
        if key == "logits":
            return self(images)["logits"]  # type: ignore[no-any-return]
        output: Tensor = self.backbone(images)
        if key == "backbone":
            return output.flatten(1)
        if key not in ("features", "neck"):
            raise UserError(f"a model gives 'features', 'backbone', 'neck' or 'logits', not '{key}'")
        if self.neck is not None:
            output = self.neck(output)
        elif key == "neck":
            raise UserError("the model has no neck, so its features are those of the backbone")
        return output.flatten(1)

    def check_labels(self, labels: Tensor) -> None:
        """Raises UserError that names the first label which the head has no class for."""
        if self.class_num is None or labels.numel() == 0 or torch.is_floating_point(labels):
            return
        if torch.compiler.is_compiling() or labels.ndim != 1:
            return
        wrong = labels[(labels < 0) | (labels >= self.class_num)]
        if wrong.numel():
            label = int(wrong[0])
            remedy = (
                f"set class_num to at least {label + 1} or relabel the list"
                if label >= 0
                else "labels start at 0"
            )
            raise UserError(
                f"label {label} is outside 0…{self.class_num - 1} of Arch.Head.class_num: {remedy}"
            )

    def embedding_size(self, image_shape: tuple[int, int, int]) -> int:
        """Width of the embedding for pictures of a shape (C, H, W)."""
        shape = output_shape(_Features(self), image_shape)
        size = 1
        for extent in shape:
            size *= extent
        return size

    def features_at(self, images: Tensor, layer: str, place: Place = _LAYER) -> Tensor:
        """Output of any layer, named from the model or from its backbone (`backbone.blocks[3]`, `blocks[3]`).

        Raises UserError that lists the nearest names; `place` says who named the layer, such as `--layer`.
        """
        known = dict(self.named_modules()).keys() | layer_aliases(self).keys()
        path = re.sub(r"\[(\d+)\]", r".\1", layer)
        if path not in known and f"backbone.{path}" in known:
            layer = f"backbone.{path}"
        return output_of(self, images, layer, place=place)

    def layer_groups(self) -> list[list[str]]:
        """Names of the parameters, in groups from stem to head, for learning rates that fall with depth.

        A network of timm is grouped as timm groups it. Neck and head are the last group.
        """
        if self.facts.layer_matcher is not None:
            groups = _timm_groups(self.backbone, self.facts.layer_matcher)
        else:
            groups = _chain_groups(self.backbone, "")
        named = [[f"backbone.{name}" for name in group] for group in groups]
        named.append([name for name, _ in self.named_parameters() if not name.startswith("backbone.")])
        return [group for group in named if group]

    def fuse(self) -> RecModel:
        """Join branches that are separate in training only (PP-LCNetV2), in place; the output at eval stays.

        The model must not be trained afterwards. Returns itself.
        """
        for part in list(self.modules()):
            fuse = getattr(part, "fuse", None)
            if part is not self and callable(fuse):
                fuse()
        left = dict(self.named_modules())
        self.frozen_norms = [name for name in self.frozen_norms if name in left]
        return self

    def train(self, mode: bool = True) -> RecModel:
        """Training or evaluation mode; frozen batch norms stay in evaluation mode."""
        super().train(mode)
        for name in self.frozen_norms:
            self.get_submodule(name).eval()
        return self


class _Features(nn.Module):
    """The part of a model that leads to its embedding."""

    def __init__(self, model: RecModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model.embed(images)


def _chain_groups(module: nn.Module, prefix: str) -> list[list[str]]:
    """One group for each step of a chain; a chain inside a chain is opened, a block is not."""
    groups: list[list[str]] = []
    own = [prefix + name for name, _ in module.named_parameters(recurse=False)]
    if own:
        groups.append(own)
    for name, child in module.named_children():
        inside = f"{prefix}{name}."
        plain = type(child) is nn.Sequential and any(True for _ in child.children())
        if plain and not any(True for _ in child.named_parameters(recurse=False)):
            groups += _chain_groups(child, inside)
        else:
            groups.append([inside + name for name, _ in child.named_parameters()])
    return [group for group in groups if group]


def _timm_groups(module: nn.Module, matcher: Any) -> list[list[str]]:
    from timm.models import group_parameters

    grouped = group_parameters(module, matcher)
    return [grouped[key] for key in sorted(grouped)]
