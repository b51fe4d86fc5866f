"""The step of FixMatch and CCSSL: labelled pictures, and unlabelled ones whose label is a confident guess.

Sources: Sohn et al., FixMatch, 2020, https://arxiv.org/abs/2001.07685; Yang et al., Class-Aware Contrastive
Semi-Supervised Learning, 2022, https://arxiv.org/abs/2203.02261.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lookalike.core.component import Component
from lookalike.core.errors import UserError
from lookalike.data.loader import Batch, Loader
from lookalike.data.views import STRONG
from lookalike.loss import build_loss
from lookalike.model import Model
from lookalike.model.heads import has_margin
from lookalike.recipe import Recipe
from lookalike.training.feed import Feed
from lookalike.training.steps.base import Losses, TwoLoaderStep, Workbench, detached, in_float32


class SemiSupervisedLosses(nn.Module):
    """`Loss.Train` of the labelled and `UnLabelLoss.Train` of the unlabelled pictures.

    A CELoss of unlabelled pictures is CCSSLCELoss, that is, of the confident ones only.
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        reference = bool(recipe.global_.reference_behaviour)
        listed = recipe.losses_unlabelled
        if not listed:
            raise UserError(
                f"{recipe.name}: Global.train_mode {recipe.global_.train_mode} needs UnLabelLoss.Train, the "
                "losses of the unlabelled pictures"
            )
        self.labelled = build_loss(recipe.loss_train, reference)
        self.unlabelled = build_loss([_of_confident(Component.of(entry)) for entry in listed], reference)

    @property
    def terms(self) -> list[nn.Module]:
        """The losses of both."""
        return [*self.labelled.terms, *self.unlabelled.terms]


def _of_confident(component: Component) -> Component:
    if component.name not in ("CELoss", "CrossEntropyLoss"):
        return component
    kept = {key: value for key, value in component.arguments.items() if key == "weight"}
    return Component("CCSSLCELoss", kept, component.place)


class FixMatchStep(TwoLoaderStep):
    """One pass over labelled pictures and weak and strong views of unlabelled ones, and an update.

    The pseudo label of an unlabelled picture is the most probable class of its weak view, softmax(logits / T)
    with `SSL.T`, which gives no gradient; it counts where its probability reaches `SSL.threshold`. The total
    is `Loss.Train` of the labelled pictures plus `UnLabelLoss.Train` of the strong views, which are called
    with the logits of the first of them and the features (N, V, D) of all V.

    `confident` among what is told is the share of pictures whose pseudo label counts.
    """

    beside = "UnLabelTrain"
    strong_views: ClassVar[int] = 1

    def __init__(self, bench: Workbench, feed: Feed, other: Loader) -> None:
        super().__init__(bench, feed, other)
        recipe = bench.recipe
        mode = f"{recipe.name}: Global.train_mode {recipe.global_.train_mode}"
        settings = recipe.semi_supervised
        self.temperature, self.threshold = settings.temperature, settings.threshold
        if bench.model.head is None or has_margin(bench.model.head):
            raise UserError(f"{mode} needs a head that classifies without labels, such as FC")
        self.views = ["image", *getattr(other.dataset, "strong", {})]
        if len(self.views) <= self.strong_views:
            needed = ", ".join(["transform_ops_weak", *list(STRONG)[: self.strong_views]])
            raise UserError(f"{mode}: DataLoader.UnLabelTrain.dataset needs {needed}")

    @classmethod
    def build_loss(cls, recipe: Recipe) -> nn.Module:
        return SemiSupervisedLosses(recipe)

    @classmethod
    def leaves_parts_unused(cls, model: Model, loss: Any) -> bool:
        return True  # a neck beside the head is read by losses of two views only

    def count(self, batch: Batch) -> int:
        return len(batch["Train"][0]["label"]) + len(self.views) * len(batch[self.beside]["label"])

    def run(self, batch: Batch, update: bool) -> Losses:
        bench = self.bench
        (labelled,), unlabelled = batch["Train"], batch[self.beside]
        labels = bench.labels(labelled)
        images = torch.cat([bench.pictures(labelled), *(bench.pictures(unlabelled, v) for v in self.views)])
        with bench.exchanging(update):
            with bench.precision.autocast():
                outputs = bench.replica(images)
            outputs = {name: in_float32(value) for name, value in outputs.items()}
            ours = {name: value[: len(labels)] for name, value in outputs.items()}
            others = {name: value[len(labels) :].chunk(len(self.views)) for name, value in outputs.items()}
            losses = self._losses(ours, labels, others)
            bench.backward(losses)
        if update:
            bench.update()
            bench.optimizers.schedule_step()
        return detached(losses)

    def _losses(
        self, ours: dict[str, Tensor], labels: Tensor, others: dict[str, tuple[Tensor, ...]]
    ) -> Losses:
        loss: SemiSupervisedLosses = self.bench.loss  # type: ignore[assignment]
        told: Losses = loss.labelled(ours, labels)
        weak, *strong = others["logits"]
        confidence, pseudo = (weak.detach() / self.temperature).softmax(dim=1).max(dim=1)
        mask = (confidence >= self.threshold).float()
        views = {name: torch.stack(parts[1:], dim=1) for name, parts in others.items() if name != "logits"}
        more: Losses = loss.unlabelled(
            {**views, "logits": strong[0]}, pseudo, {"confidence": confidence, "mask": mask}
        )
        total = told.pop("loss") + more.pop("loss")
        for name, value in more.items():
            told[f"{name}_unlabelled" if name in told else name] = value
        return {**told, "confident": mask.mean(), "loss": total}


class ContrastiveFixMatchStep(FixMatchStep):
    """FixMatch with a second strong view, for losses that compare the features of both (CCSSL)."""

    strong_views = 2
