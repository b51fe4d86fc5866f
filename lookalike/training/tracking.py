"""What a run tells: means of the losses, speed, log lines, the progress bar and TensorBoard."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from rich.text import Text

from lookalike.core import process
from lookalike.core.errors import missing_extra
from lookalike.core.files import space_for
from lookalike.core.log import logger

T = TypeVar("T")


class Clock:
    """Time spent waiting for pictures and in all, since the last `restart`; images per second follow."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self.started = time.perf_counter()
        self.seconds_counted = self.waited = 0.0
        self.images = 0
        self.batches = 0

    def timed(self, batches: Iterable[T]) -> Iterator[T]:
        """Iterate and count the time that each `next` takes as waiting."""
        iterator = iter(batches)
        while True:
            asked = time.perf_counter()
            try:
                batch = next(iterator)
            except StopIteration:
                return
            self.waited += time.perf_counter() - asked
            yield batch

    def count(self, images: int) -> None:
        self.images += images
        self.batches += 1

    def stop(self) -> None:
        """The batches are over: what follows (an evaluation, a checkpoint) does not count."""
        self.seconds_counted = self.seconds

    @property
    def seconds(self) -> float:
        return max(time.perf_counter() - self.started, 1e-9)

    @property
    def images_per_second(self) -> float:
        return self.images / self.seconds

    @property
    def reader_share(self) -> float:
        """Share of the time spent waiting for pictures."""
        return self.waited / self.seconds

    @property
    def seconds_per_batch(self) -> float:
        return self.seconds / max(self.batches, 1)


class Means:
    """Running means of the losses of an epoch."""

    def __init__(self, sums: dict[str, float] | None = None, count: int = 0) -> None:
        self.sums, self.count = dict(sums or {}), count

    def add(self, values: dict[str, float]) -> None:
        self.count += 1
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def means(self) -> dict[str, float]:
        return {name: value / max(self.count, 1) for name, value in self.sums.items()}


def spell(values: dict[str, float]) -> str:
    """`CELoss: 6.41250, loss: 7.31004`, as the reference's log lines have it."""
    return ", ".join(f"{name}: {value:.5f}" for name, value in values.items())


def duration(seconds: float) -> str:
    """`0:04:31`."""
    whole = int(seconds + 0.5)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


class Tracker:
    """Sends the figures of a run to the log, the progress bar and TensorBoard.

    Only the main process speaks.
    """

    def __init__(self, folder: Path, total_batches: int, tensorboard: bool) -> None:
        self.main = process.is_main()
        self.live = self.main and sys.stderr.isatty()
        self.writer: Any = None
        if self.main and tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise missing_extra("tensorboard", "train", "Global.tensorboard") from error
            with space_for(folder / "tensorboard"):
                self.writer = SummaryWriter(str(folder / "tensorboard"))
        self.total = total_batches
        self._bar: Any = None
        self._live: Any = None
        self._task: Any = None
        self._figures = Text()

    def __enter__(self) -> Tracker:
        if self.live:
            from rich.console import Console, Group
            from rich.live import Live
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
            )
            self._task = self._bar.add_task("train", total=self.total)
            # the figures stand in a line of their own, which a narrow terminal wraps
            self._live = Live(Group(self._bar, self._figures), console=Console(stderr=True), transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
        if self.writer is not None:
            self.writer.close()

    def batch(
        self, epoch: int, epochs: int, done: int, lr: float, losses: dict[str, float], clock: Clock
    ) -> None:
        """Move the bar; `done` counts the batches of the whole run."""
        if self._bar is not None:
            self._figures.plain = (
                f"{spell(losses)}, lr {lr:.2e}, {clock.images_per_second:.0f} images/s, "
                f"{100 * clock.reader_share:.0f} % waiting for pictures"
            )
            self._bar.update(self._task, completed=done, description=f"epoch {epoch}/{epochs}")

    def lines(self, epoch: int, epochs: int, batch: int, batches: int, lr: float, losses: dict[str, float],
              clock: Clock, iteration: int) -> None:  # fmt: skip
        """One line of the log, every `Global.print_batch_step` batches."""
        left = (self.total - iteration) * clock.seconds_per_batch
        logger.info(
            f"[Train][Epoch {epoch}/{epochs}][Iter: {batch}/{batches}]lr: {lr:.8f}, {spell(losses)}, "
            f"batch_cost: {clock.seconds_per_batch:.4f}s, reader_share: {100 * clock.reader_share:.0f}%, "
            f"ips: {clock.images_per_second:.2f} images/s, eta: {duration(left)}",
            extra={"every_batch": True},
        )
        if self.writer is not None:
            self.writer.add_scalar("lr", lr, iteration)
            for name, value in losses.items():
                self.writer.add_scalar(f"train/{name}", value, iteration)

    def evaluated(self, epoch: int, what: str, metrics: dict[str, float]) -> None:
        """The line of an evaluation."""
        logger.info(f"[Eval][Epoch {epoch}][{what}]{spell(metrics)}")
        if self.writer is not None:
            for name, value in metrics.items():
                self.writer.add_scalar(f"eval/{what}/{name}", value, epoch)
