"""The step of MetaBIN: an ordinary update, then one of the gates that carries from some domains to others.

Source: Choi et al., Meta Batch-Instance Normalization for Generalizable Person Re-Identification, CVPR 2021,
https://arxiv.org/abs/2011.14670, algorithm 1.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lookalike.core.errors import UserError
from lookalike.data.loader import Batch, Loader
from lookalike.loss import build_loss
from lookalike.model import Model
from lookalike.model.meta_norm import clip_gates, gates, set_mode, stepped_gates, using_gates
from lookalike.recipe import Recipe
from lookalike.training import distributed
from lookalike.training.feed import Feed
from lookalike.training.reach import leaves_parts_unused
from lookalike.training.steps.base import Losses, TwoLoaderStep, Workbench, detached, in_float32

NETWORK, GATES, INNER = 0, 1, 2
"""Places of the optimizers in the recipe's list: of the network, of the gates, and the one that is never
stepped: its rate times that of the gates is the rate of the inner step."""


class MetaLosses(nn.Module):
    """The losses of the three passes, from `Loss.Basic`, `Loss.MetaTrain` and `Loss.MetaTest`."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        reference = bool(recipe.global_.reference_behaviour)
        lists = {part: recipe.losses(part) for part in ("Basic", "MetaTrain", "MetaTest")}
        missing = [f"Loss.{part}" for part, listed in lists.items() if not listed]
        if missing:
            raise UserError(f"{recipe.name}: train_mode metabin needs {', '.join(missing)}: lists of losses")
        self.basic, self.meta_train, self.meta_test = (build_loss(one, reference) for one in lists.values())

    @property
    def terms(self) -> list[nn.Module]:
        """The losses of all passes."""
        return [*self.basic.terms, *self.meta_train.terms, *self.meta_test.terms]


class MetaBinStep(TwoLoaderStep):
    """One iteration of meta-learning over domains, which are the cameras of `DataLoader.Train`.

    1. `Loss.Basic` of a batch of `DataLoader.Train` moves the network by the first optimizer; the very first
       iteration does so with `Global.warmup_iter` batches.
    2. A batch of `DataLoader.Metalearning` is cut in two, half of its domains each, drawn at random.
       `Loss.MetaTrain` of the one gives the gates an inner step, by the product of the rates of the second
       and third optimizer, of first order as in the reference.
    3. `Loss.MetaTest` of the other half, as if the gates had made that step, moves the gates by the second
       optimizer.

    Passes 2 and 3 leave the running statistics of batch norms alone. The reference computes pass 2 without
    mixed precision and rebuilds the losses in each pass; losses with memory or parameters keep theirs here.
    Each process draws the domains of its own batch; gradients of gates are averaged over the processes.
    """

    beside = "Metalearning"

    def __init__(self, bench: Workbench, feed: Feed, other: Loader) -> None:
        super().__init__(bench, feed, other)
        settings, name = bench.recipe.global_, bench.recipe.name
        self.warmup_batches = settings.warmup_iter or 1
        if not gates(bench.model):
            raise UserError(
                f"{name}: Global.train_mode metabin trains gates between norms, and the model has none: use "
                "the backbone ResNet50_metabin"
            )
        if len(bench.optimizers.parts) != 3:
            raise UserError(
                f"{name}: Global.train_mode metabin needs a list of three optimizers (of the network, of the "
                "gates, and one whose rate is that of the inner step), got "
                f"{len(bench.optimizers.parts)}"
            )
        if bench.update_freq != 1:
            raise UserError(f"{name}: Global.update_freq must be 1 with train_mode metabin")
        for loader in (feed.loader, other):
            _check_domains(loader, name)

    @classmethod
    def build_loss(cls, recipe: Recipe) -> nn.Module:
        return MetaLosses(recipe)

    @classmethod
    def leaves_parts_unused(cls, model: Model, loss: Any) -> bool:
        # meta-training is no backward pass of the replica
        return any(leaves_parts_unused(model, one.terms) for one in (loss.basic, loss.meta_test))

    def reads(self, epoch: int, iteration: int) -> int:
        return self.warmup_batches if epoch == 1 and iteration == 0 else 1

    def run(self, batch: Batch, update: bool) -> Losses:
        bench = self.bench
        set_mode(bench.model, "general")
        for ordinary in batch["Train"]:
            basic = self._losses("train", bench.replica, ordinary)
            bench.backward(basic)
            bench.update(NETWORK)
            clip_gates(bench.model)
        set_mode(bench.model, "hold")
        try:
            some, others = halves_by_domain(batch[self.beside])
            meta_train, stepped = self._inner_step(some)
            with using_gates(bench.model, stepped):
                meta_test = self._losses("mtest", bench.replica, others)
                bench.backward(meta_test)
        finally:
            set_mode(bench.model, "general")
        bench.update(GATES)
        clip_gates(bench.model)
        bench.optimizers.schedule_step()
        told = {**_told("train", basic), **_told("mtrain", meta_train), **_told("mtest", meta_test)}
        return {**told, "loss": basic["loss"].detach() + meta_test["loss"].detach()}

    def _losses(self, stage: str, model: nn.Module, batch: Batch) -> Losses:
        bench = self.bench
        losses: dict[str, Any] = {
            "train": bench.loss.basic,
            "mtrain": bench.loss.meta_train,
            "mtest": bench.loss.meta_test,
        }
        images, labels = bench.pictures(batch), bench.labels(batch)
        with bench.precision.autocast():
            outputs = model(images, labels)
        outputs = {name: in_float32(value) for name, value in outputs.items()}
        found: Losses = losses[stage](outputs, labels, {**batch, "domain": bench.labels(batch, "camera")})
        return found

    def _inner_step(self, batch: Batch) -> tuple[Losses, dict[str, Tensor]]:
        """The losses of meta-training, and the gates after a step against their gradient."""
        bench = self.bench
        # not the replica: there is no backward pass of the whole network, which it would wait for
        losses = self._losses("mtrain", bench.model, batch)
        if bench.device.type == "cpu":
            bench.refuse(losses)
        own, scaler = gates(bench.model), bench.precision.scaler
        gradients = torch.autograd.grad(scaler.scale(losses["loss"]), list(own.values()))
        if scaler.is_enabled():  # a gradient that overflows makes no step, as with any optimizer
            gradients = tuple(torch.nan_to_num(g / scaler.get_scale(), 0.0, 0.0, 0.0) for g in gradients)
        distributed.average(gradients)
        rates = bench.optimizers.learning_rate
        return losses, stepped_gates(own, gradients, rates[GATES] * rates[INNER])


def halves_by_domain(batch: Batch) -> tuple[Batch, Batch]:
    """The samples of half of the domains in a batch (rounded down), drawn at random, and those of the others.

    Raises UserError for a batch of one domain.
    """
    cameras = batch["camera"]
    domains = torch.unique(cameras)
    if len(domains) < 2:
        raise UserError("DataLoader.Metalearning gives batches of one domain: meta-learning needs two")
    chosen = domains[torch.randperm(len(domains))[: len(domains) // 2]]
    inside = torch.isin(cameras, chosen)
    return {key: value[inside] for key, value in batch.items()}, {
        key: value[~inside] for key, value in batch.items()
    }


def _told(stage: str, losses: Losses) -> Losses:
    return detached({name: value for name, value in losses.items() if name != "loss"}, f"{stage}_")


def _check_domains(loader: Loader, name: str) -> None:
    cameras = loader.records.cameras
    if cameras is None or len(set(cameras.tolist())) < 2:
        raise UserError(
            f"{name}: Global.train_mode metabin takes the cameras for domains, and "
            f"{loader.records.origin or 'the training set'} has {'none' if cameras is None else 'one'}"
        )
