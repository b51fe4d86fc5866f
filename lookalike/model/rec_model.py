"""RecModel: backbone → neck → head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lookalike.core.component import Place
from lookalike.core.errors import UserError
from lookalike.model.heads import IdentityHead, MarginHead, takes_labels
from lookalike.model.layer_outputs import as_vectors, recorded, watched_path
from lookalike.model.shapes import output_shape
from lookalike.model.slim.structure import Structure
from lookalike.model.stop_layers import find_layer, layer_aliases, layer_path

_LAYER = Place("layer")

OUTPUT_NAMES = ("backbone", "neck", "features", "logits")
"""What a model can give beside the outputs of layers that are asked for."""


@dataclass(frozen=True)
class BackboneFacts:
    """What is known of a backbone beside its layers."""

    name: str = ""
    removed_keys: frozenset[str] = frozenset()
    """Keys of weights that a file may hold and that the stop layer cut away."""
    layer_matcher: Any = None
    """How timm groups the parameters from stem to end, where it is one of timm's."""
    image_shape: tuple[int, int, int] = (3, 224, 224)
    layers: Mapping[str, str] = field(default_factory=dict)
    """Layers whose outputs a model gives beside the last one: their names, and the paths of modules."""
    frozen_before: str | None = None
    """Path of the module whose output no gradient passes."""


class RecModel(nn.Module):
    """Pictures in, embedding and class scores out.

    `forward` gives a dict: `backbone` (what the backbone gives), `neck` where there is one, `features` (of
    the neck, else of the backbone: the embedding), `logits` where there is a head (and `logits_64`, those of
    the first 64 numbers, where its `sizes` ask for them), and the output of each layer that `return_patterns`
    or `return_stages` of the backbone asks for, by its name. Built by `build_model`.

    A neck as a head gives its output as logits; a head as a neck never sees labels, so that one with a margin
    gives the cosines to its rows of weights.
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
        self._head_takes_labels = head is None or takes_labels(head)
        self.class_num: int | None = getattr(head, "class_num", None)
        self.frozen_norms: list[str] = []
        self.structure: Structure | None = None
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
        output, layers = self._seen(images)
        outputs = {"backbone": output, "features": output}
        if self.neck is not None:
            outputs["neck"] = outputs["features"] = self._through_neck(output, layers)
        if self.head is not None and self.gives_logits:
            source = outputs["backbone" if self.head_feature_from == "backbone" else "features"]
            logits = self.head(source, labels) if self._head_takes_labels else self.head(source)
            outputs["logits"] = logits
            if isinstance(self.head, MarginHead):
                for size in self.head.sizes:
                    whole = size == self.head.in_features
                    outputs[f"logits_{size}"] = logits if whole else self.head.of_first(size, source, labels)
        return {**outputs, **layers}

    @property
    def gives_logits(self) -> bool:
        """Whether there is a head that scores classes."""
        return self.head is not None and not isinstance(self.head, IdentityHead)

    def _seen(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """What the backbone gives, and the outputs of its layers that are asked for."""
        if not self.facts.layers:
            return self.backbone(images), {}
        with recorded(self.backbone, self.facts.layers) as layers:
            output = self.backbone(images)
        return output, layers

    def _through_neck(self, output: Tensor, layers: Mapping[str, Tensor]) -> Tensor:
        assert self.neck is not None
        several = getattr(self.neck, "takes_layers", False)
        return self.neck(list(layers.values()) if several else output)  # type: ignore[no-any-return]

    def output_names(self) -> list[str]:
        """The keys of what `forward` gives, but for the scores of the first numbers, which losses read."""
        neck = ["neck"] if self.neck is not None else []
        logits = ["logits"] if self.gives_logits else []
        return ["backbone", "features", *neck, *logits, *self.facts.layers]

    def embed(self, images: Tensor, key: str = "features") -> Tensor:
        """The embeddings (N, D) without the class scores: `features`, `backbone` or `neck`.

        A returned layer may be named as well; its map is averaged over its places.
        """
        if key not in self.output_names():
            if key == "neck":
                raise UserError("the model has no neck, so its features are those of the backbone")
            known = ", ".join(map(repr, self.output_names()))
            raise UserError(f"a model gives {known}, not '{key}'")
        if key == "logits":
            return self(images)["logits"]  # type: ignore[no-any-return]
        output, layers = self._seen(images)
        if key in layers:
            return as_vectors(layers[key])
        if key != "backbone" and self.neck is not None:
            output = self._through_neck(output, layers)
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

    def embedding_size(self, image_shape: tuple[int, int, int], key: str = "features") -> int:
        """Width of what `embed` gives for pictures of a shape (C, H, W)."""
        shape = output_shape(_Embedding(self, key), image_shape)
        size = 1
        for extent in shape:
            size *= extent
        return size

    def features_at(self, images: Tensor, layer: str, place: Place = _LAYER) -> Tensor:
        """Output of any layer; see `several_at`."""
        return self.several_at(images, [layer], place)[layer]

    def several_at(self, images: Tensor, layers: Sequence[str], place: Place = _LAYER) -> dict[str, Tensor]:
        """Outputs of layers, named from the model or from its backbone (`backbone.blocks[3]`, `blocks[3]`).

        Raises UserError that lists the nearest names; `place` says who named the layers, such as `--layer`.
        """
        known = {name for name, _ in self.named_modules()} | layer_aliases(self).keys()
        paths = {}
        for layer in layers:
            path = layer_path(layer)
            inside = path not in known and f"backbone.{path}" in known
            found = find_layer(self, f"backbone.{path}" if inside else layer, place)
            paths[layer] = watched_path(self, found)
        with recorded(self, paths, place) as outputs:
            self(images)
        return outputs

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
        kept = {name: path for name, path in self.facts.layers.items() if _inside("backbone", path) in left}
        self.facts = replace(self.facts, layers=kept)
        return self

    def train(self, mode: bool = True) -> RecModel:
        """Training or evaluation mode; frozen batch norms stay in evaluation mode."""
        super().train(mode)
        for name in self.frozen_norms:
            self.get_submodule(name).eval()
        return self


def _inside(prefix: str, path: str) -> str:
    return f"{prefix}.{path}" if path else prefix


class _Embedding(nn.Module):
    """The part of a model that leads to an output."""

    def __init__(self, model: RecModel, key: str) -> None:
        super().__init__()
        self.model, self.key = model, key

    def forward(self, images: Tensor) -> Tensor:
        return self.model.embed(images, self.key)


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
