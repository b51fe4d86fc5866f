"""The ordinary step: a batch, its losses, an update."""

from __future__ import annotations

from torch import nn

from lookalike.data.loader import Batch
from lookalike.loss import build_loss
from lookalike.recipe import Recipe
from lookalike.training.steps.base import Losses, Step, detached, in_float32


class OrdinaryStep(Step):
    """Forward, `Loss.Train`, backward; every `Global.update_freq` batches an update."""

    @classmethod
    def build_loss(cls, recipe: Recipe) -> nn.Module:
        return build_loss(recipe.loss_train, reference_behaviour=bool(recipe.global_.reference_behaviour))

    def run(self, batch: Batch, update: bool) -> Losses:
        bench = self.bench
        images, labels = bench.pictures(batch), bench.labels(batch)
        with bench.exchanging(update):
            with bench.precision.autocast():
                outputs = bench.replica(images, labels)
            losses = bench.loss({name: in_float32(value) for name, value in outputs.items()}, labels, batch)
            bench.backward(losses)
        if update:
            bench.update()
            bench.optimizers.schedule_step()
        return detached(losses)
