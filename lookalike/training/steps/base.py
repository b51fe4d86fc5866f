"""What one iteration of training is: which batches it reads, and what it does with them."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lookalike.data import Loader
from lookalike.data.loader import Batch
from lookalike.model import Model
from lookalike.recipe import Recipe
from lookalike.training import distributed
from lookalike.training.checkpoint import Progress
from lookalike.training.feed import Feed
from lookalike.training.optimizers import Optimizers
from lookalike.training.precision import Precision
from lookalike.training.reach import leaves_parts_unused

Losses = dict[str, Tensor]


@dataclass
class Workbench:
    """What a step works with. `replica` is the model whose gradients are averaged over all processes."""

    recipe: Recipe
    model: Model
    replica: nn.Module
    loss: nn.Module
    optimizers: Optimizers
    precision: Precision
    device: torch.device
    layout: torch.memory_format
    update_freq: int
    refuse: Callable[[Mapping[str, Tensor]], None]
    """Raises where a loss is NaN or infinite."""

    def pictures(self, batch: Batch, key: str = "image") -> Tensor:
        """The pictures of a batch on the device, in the memory layout that convolutions like there."""
        images: Tensor = batch[key].to(self.device, non_blocking=True)
        return images.contiguous(memory_format=self.layout)

    def labels(self, batch: Batch, key: str = "label") -> Tensor:
        """A column of a batch on the device."""
        return batch[key].to(self.device, non_blocking=True)  # type: ignore[no-any-return]

    def backward(self, losses: Mapping[str, Tensor]) -> None:
        """Gradients of the sum of the losses, divided by the batches of an update."""
        if self.device.type == "cpu":  # free here; on a GPU it would wait for every step
            self.refuse(losses)
        total = self.precision.scaler.scale(losses["loss"] / self.update_freq)
        total.backward()  # type: ignore[no-untyped-call]

    def update(self, *parts: int) -> None:
        """One step of all optimizers, or of those at these places of the recipe's list; gradients are
        forgotten.
        """
        distributed.average_gradients(self.loss.parameters())
        self.optimizers.step(self.precision.scaler, parts or None)
        self.optimizers.zero_grad()

    def exchanging(self, update: bool) -> contextlib.AbstractContextManager[Any]:
        """The block of a batch: gradients are averaged over the processes only where an update follows."""
        return contextlib.nullcontext() if update else distributed.without_exchange(self.replica)


class Step(ABC):
    """One iteration of a training mode.

    The loop asks for the `batches` of an epoch, hands each to `run`, and lets `note` write down where the
    step stands, so that a resumed run goes on with the next batch.
    """

    def __init__(self, bench: Workbench, feed: Feed) -> None:
        self.bench, self.feed = bench, feed

    @classmethod
    @abstractmethod
    def build_loss(cls, recipe: Recipe) -> nn.Module:
        """The losses of a recipe; `terms` are all of them."""

    @classmethod
    def leaves_parts_unused(cls, model: Model, loss: Any) -> bool:
        """Whether a backward pass may leave parameters without a gradient."""
        return leaves_parts_unused(model, loss.terms)

    @property
    def position(self) -> int:
        """Batches of the epoch that are done with."""
        return self.feed.position

    def batches(self, progress: Progress) -> Iterator[Batch]:
        """What the iterations of an epoch read, from where the run stands in it."""
        return self.feed.batches(progress.epoch, progress.batches_done)

    def note(self, progress: Progress) -> None:
        """Write down where the step stands."""
        progress.batches_done = self.position

    def count(self, batch: Batch) -> int:
        """Pictures in what one iteration read."""
        return len(batch["label"])

    @abstractmethod
    def run(self, batch: Batch, update: bool) -> Losses:
        """Forward, backward and, where it is time, an update. Returns the losses of the batch, detached."""


class TwoLoaderStep(Step):
    """An iteration that reads a second loader beside `DataLoader.Train`; both begin again when exhausted.

    A batch is `{"Train": [batch, …], NAME: batch}`.
    """

    beside: ClassVar[str]
    """Name of the second block under `DataLoader`."""

    def __init__(self, bench: Workbench, feed: Feed, other: Loader) -> None:
        super().__init__(bench, feed)
        feed.endless = True
        self.other = Feed(other, endless=True)
        self.done = 0

    @property
    def position(self) -> int:
        return self.done

    def reads(self, epoch: int, iteration: int) -> int:
        """How many batches of `DataLoader.Train` an iteration (0, 1, … of its epoch) takes."""
        return 1

    def batches(self, progress: Progress) -> Iterator[Batch]:
        self.done = progress.batches_done
        kept = progress.positions
        first = self.feed.batches(progress.epoch, kept.get("Train", 0))
        second = self.other.batches(progress.epoch, kept.get(self.beside, 0))
        while True:
            taken = [next(first) for _ in range(self.reads(progress.epoch, self.done))]
            other = next(second)
            self.done += 1
            yield {"Train": taken, self.beside: other}

    def note(self, progress: Progress) -> None:
        progress.batches_done = self.done
        progress.positions = {"Train": self.feed.position, self.beside: self.other.position}

    def count(self, batch: Batch) -> int:
        return sum(len(each["label"]) for each in batch["Train"]) + len(batch[self.beside]["label"])


def detached(losses: Mapping[str, Tensor], prefix: str = "") -> Losses:
    """The losses without their graph, for the log."""
    return {prefix + name: value.detach() for name, value in losses.items()}


def in_float32(value: Any) -> Any:
    """Outputs of autocast as the losses want them, whether of one model or of several by their names."""
    if isinstance(value, Mapping):
        return {name: in_float32(output) for name, output in value.items()}
    return value.float() if isinstance(value, Tensor) and value.is_floating_point() else value
