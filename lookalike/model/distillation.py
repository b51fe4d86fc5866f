"""DistillationModel: several models that see the same pictures, such as a teacher and its student."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from torch import Tensor, nn

from lookalike.core.component import Place, Section, SectionList, place_of
from lookalike.core.errors import did_you_mean
from lookalike.core.log import logger
from lookalike.model.heads import has_margin
from lookalike.model.rec_model import BackboneFacts, RecModel
from lookalike.model.weights.load import load_weights

DISTILLATION = "DistillationModel"
STUDENT = "Student"
"""The model that is used afterwards, where `infer_model_name` does not name another."""

_KEYS = (
    "name",
    "models",
    "infer_model_name",
    "infer_output_key",
    "infer_add_softmax",
    "freeze_params_list",
    "pretrained_list",
    "use_sync_bn",
    "is_rec",
    "class_num",
)


class BackboneScores(nn.Module):
    """The head of a backbone alone, whose output are class scores already."""

    def forward(self, scores: Tensor, labels: Tensor | None = None) -> Tensor:
        return scores.flatten(1)


class DistillationModel(nn.Module):
    """Models by their names, each of which is given the pictures and the labels.

    `forward` gives `{name: outputs of that model}`, which is what the Distillation losses read. Frozen models
    stay in evaluation mode and get no gradient; where none is frozen, the models learn from each other. The
    model of `infer_model_name` is `student`: `embed` and all that describes the model are about it.
    """

    def __init__(self, models: Mapping[str, RecModel], frozen: Sequence[str] = (), student: str = STUDENT):
        super().__init__()
        self.names, self.frozen, self.student_name = list(models), list(frozen), student
        for name, model in models.items():
            self.add_module(name, model)
        for name in frozen:
            self.model(name).requires_grad_(False)
        self.train(self.training)

    def model(self, name: str) -> RecModel:
        """One of the models."""
        return self.get_submodule(name)  # type: ignore[return-value]

    @property
    def student(self) -> RecModel:
        """The model that is scored, exported and embedded with."""
        return self.model(self.student_name)

    @property
    def head(self) -> nn.Module | None:
        """The student's head."""
        return self.student.head

    @property
    def class_num(self) -> int | None:
        """Classes of the student's head."""
        return self.student.class_num

    @property
    def facts(self) -> BackboneFacts:
        """What is known of the student's backbone."""
        return self.student.facts

    def forward(self, images: Tensor, labels: Tensor | None = None) -> dict[str, dict[str, Tensor]]:
        """(N, C, H, W) and labels (N,) or (N, 1). See `RecModel.forward`."""
        return {name: self.model(name)(images, labels) for name in self.names}

    def embed(self, images: Tensor, key: str = "features") -> Tensor:
        """The student's embeddings; see `RecModel.embed`."""
        return self.student.embed(images, key)

    def output_names(self) -> list[str]:
        """The keys of what the student gives."""
        return self.student.output_names()

    def embedding_size(self, image_shape: tuple[int, int, int]) -> int:
        """Width of the student's embedding for pictures of a shape (C, H, W)."""
        return self.student.embedding_size(image_shape)

    def layer_groups(self) -> list[list[str]]:
        """Names of the parameters in groups from stem to head, those of all models side by side.

        Models of unequal depth are aligned at their heads.
        """
        columns = [
            [[f"{name}.{key}" for key in group] for group in reversed(self.model(name).layer_groups())]
            for name in self.names
        ]
        rows: list[tuple[list[str], ...]] = list(zip_longest(*columns, fillvalue=[]))
        return [[key for group in row for key in group] for row in reversed(rows)]

    def train(self, mode: bool = True) -> DistillationModel:
        """Training or evaluation mode; frozen models stay in evaluation mode.

        A frozen margin head gives s * cos θ, without its margin: the softmax of plain cosines is flat, and
        nothing can be learned from it. (In the reference a frozen model stays in training mode.)
        """
        super().train(mode)
        for name in self.frozen:
            model = self.model(name).eval()
            if model.head is not None and has_margin(model.head):
                model.head.scaled_at_eval = True  # type: ignore[assignment]
        return self


def build_distillation(
    arch: Mapping[str, Any],
    place: Place,
    build: Callable[[Mapping[str, Any], Place], RecModel],
    pretrained: bool,
) -> DistillationModel:
    """Build the models of a recipe, each with `build(block, place)`.

    `models` is a list of `{NAME: block}`; a block is that of a RecModel, or a backbone alone, whose output
    are then class scores. `freeze_params_list` and `pretrained_list` have an entry for each of them.

    Raises UserError for an unknown key, a model without a name or twice the same, lists of another length.
    """
    for key in arch:
        if key not in _KEYS:
            near = did_you_mean(key, _KEYS) or "."
            line = place.on_line_of(place_of(arch, key, place))
            raise line.error(f"unknown key '{key}'{near} (accepts: {', '.join(_KEYS)})")
    blocks = model_blocks(arch, place)
    student = arch.get("infer_model_name") or STUDENT
    if student not in blocks:
        raise place_of(arch, "infer_model_name", place).error(
            f"there is no model '{student}' among {', '.join(blocks)}"
        )
    frozen = _one_for_each(arch, "freeze_params_list", blocks, place, (bool, type(None)))
    weights = _one_for_each(arch, "pretrained_list", blocks, place, (str, bool, type(None)))
    models: dict[str, RecModel] = {}
    for name, (block, at) in blocks.items():
        models[name] = build(block, at)
        source = weights[name]
        if source is True:
            raise place_of(arch, "pretrained_list", place).error(
                "must be a path or URL for each model, or null"
            )
        if source and pretrained:
            load_weights(models[name], source)
    held = [name for name in blocks if frozen[name]]
    if held:
        logger.info("%s learn nothing: they are frozen", ", ".join(held))
    return DistillationModel(models, held, student)


def model_blocks(arch: Mapping[str, Any], place: Place) -> dict[str, tuple[Mapping[str, Any], Place]]:
    """The block of each model by its name, with its place; a backbone alone is put into one of a RecModel.

    Raises UserError for something else than a list of `{NAME: block}`.
    """
    listed = arch.get("models")
    place = place.on_line_of(place_of(arch, "models", place)).at("models")
    if not isinstance(listed, (list, tuple)) or not listed:
        raise place.error(
            "a DistillationModel needs a list of models, written as '- Teacher: {name: RecModel, …}'"
        )
    blocks: dict[str, tuple[Mapping[str, Any], Place]] = {}
    for number, entry in enumerate(listed):
        at = listed.place_of(number) if isinstance(listed, SectionList) else place.at(number)
        if not isinstance(entry, Mapping) or len(entry) != 1:
            raise at.error(
                f"expected one model, written as '- Teacher: {{name: RecModel, …}}', got {entry!r:.60}"
            )
        ((name, block),) = entry.items()
        inside = entry.place_of(name) if isinstance(entry, Section) else at.at(str(name))
        if not isinstance(block, Mapping):
            raise inside.error(f"expected the keys of a RecModel or a backbone, got {block!r:.60}")
        if name in blocks or not str(name).isidentifier() or hasattr(nn.Module(), str(name)):
            raise inside.error(f"'{name}' cannot be the name of a model, or is that of another one already")
        blocks[str(name)] = (block, inside)
    return blocks


def _one_for_each(
    arch: Mapping[str, Any], key: str, blocks: Mapping[str, Any], place: Place, kinds: tuple[type, ...]
) -> dict[str, Any]:
    """The entries of a list by the names of the models; None for each where the recipe has no such list."""
    values = arch.get(key)
    if values is None:
        return dict.fromkeys(blocks)
    listed = isinstance(values, (list, tuple)) and all(isinstance(value, kinds) for value in values)
    if not listed or len(values) != len(blocks):
        raise place_of(arch, key, place).error(
            f"needs one entry for each of the {len(blocks)} models ({', '.join(blocks)}), got {values!r}"
        )
    return dict(zip(blocks, values, strict=True))
