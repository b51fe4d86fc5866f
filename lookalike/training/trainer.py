"""The loop: a recipe in, a checkpoint out."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lookalike.core import process
from lookalike.core.errors import LookalikeError, UserError
from lookalike.core.files import space_for
from lookalike.core.log import forget_warnings, logger, start_file, stop_file
from lookalike.data.loader import own_workers
from lookalike.model import build_model, load_weights
from lookalike.model.slim.rebuild import rebuild_for
from lookalike.recipe import Recipe, require_paths
from lookalike.training import checkpoint as checkpoints
from lookalike.training import distributed
from lookalike.training.assembly import (
    assemble_model,
    check_output_key,
    prepare_process,
    run_folder,
    seed_everything,
    seed_of,
    suitable_threads,
    to_device,
    training_loader,
)
from lookalike.training.benchmark import Benchmark, build_benchmark
from lookalike.training.checkpoint import Progress
from lookalike.training.ema import ExponentialMovingAverage
from lookalike.training.feed import Feed
from lookalike.training.first_numbers import check_sizes
from lookalike.training.interruption import StopRequest
from lookalike.training.layout import memory_layout
from lookalike.training.optimizers import build_optimizer
from lookalike.training.precision import Precision
from lookalike.training.scoring import check_scoring, score
from lookalike.training.slimming import slim_and_tell
from lookalike.training.soft_labels import check_mixing
from lookalike.training.steps import Workbench, build_step, step_of
from lookalike.training.student import keep_student
from lookalike.training.tracking import Clock, Means, Tracker, duration, spell


@dataclass
class TrainResult:
    """What a run reached. Figures are fractions; `interrupted` names the signal that ended it early."""

    folder: str
    epochs: int
    iterations: int
    seconds: float
    images_per_second: float
    metrics: dict[str, float] = field(default_factory=dict)
    best_metric: float | None = None
    best_epoch: int | None = None
    interrupted: str | None = None


def train(recipe: Recipe) -> TrainResult:
    """Train the model of a recipe and score it.

    Writes `output_dir/RecModel/{latest,best_model,epoch_N}`, `train.log` and TensorBoard events; of a
    distillation also `best_model_student`, the student as a model of its own. Resumes exactly from
    `Global.checkpoints`. Ctrl-C and SIGTERM end the run after the batch in work, with a checkpoint to resume
    from.

    Raises UserError for input that cannot work and LookalikeError where a loss becomes NaN or infinite.
    """
    forget_warnings()
    require_paths(recipe)
    check_scoring(recipe)
    device = prepare_process(recipe)
    with distributed.process_group(device), own_workers():
        folder = run_folder(recipe)
        log = None
        if process.is_main():
            _make_folder(folder)
            log = start_file(folder / "train.log")
        try:
            return Trainer(recipe, device, folder).run()
        except LookalikeError as error:
            if log is not None:
                log.handle(logger.makeRecord(logger.name, logging.ERROR, "", 0, str(error), (), None))
            raise
        finally:
            if log is not None:
                stop_file(log)


class Trainer:
    """One run: the objects it works with and the steps in which they meet."""

    def __init__(self, recipe: Recipe, device: torch.device, folder: Path) -> None:
        settings = recipe.global_
        reference = bool(settings.reference_behaviour)
        self.recipe, self.device, self.folder, self.settings = recipe, device, folder, settings
        resume = checkpoints.resume_folder(settings.checkpoints) if settings.checkpoints else None
        self.loader = training_loader(recipe)
        self.update_freq = int(settings.update_freq or 1)
        self.batches_per_epoch = self._batches_per_epoch()
        self.epochs = int(settings.epochs)
        # Eval is looked at while training only where there is no Validation block that spares it for the end
        self.benchmark = build_benchmark(recipe, "Eval", self.loader.records)
        self.validation = build_benchmark(recipe, "Validation", self.loader.records)
        self.online = (self.validation or self.benchmark) if settings.eval_during_train else None
        if self.benchmark is None:
            logger.warning("the recipe has no DataLoader.Eval: the model is trained but not scored")

        shape = self.loader.dataset.image_shape()
        if resume is None:
            self.model = assemble_model(recipe, device, recipe.weights, image_shape=shape)
            channels, height, width = shape or recipe.global_.image_shape
            slim_and_tell(recipe, self.model, (channels, height, width))
            self.model = to_device(self.model, device)
        else:  # every weight comes from the checkpoint
            built = build_model(recipe.arch, reference, pretrained=False, image_shape=shape)
            rebuild_for(built, resume / "model.safetensors", f"Global.checkpoints: {resume}")
            self.model = to_device(built, device)
        self.batch_shape = (self.loader.batch_size, *(shape or recipe.global_.image_shape))
        check_output_key(recipe, self.model)
        mode = step_of(recipe)
        self.loss = mode.build_loss(recipe).to(device)
        check_mixing(recipe, self.loader, self.model, self.loss)
        check_sizes(self.model, self.loss, shape or recipe.global_.image_shape)
        self.optimizers = build_optimizer(
            recipe.optimizer,
            self.model,
            self.loss,
            epochs=self.epochs,
            steps_per_epoch=self.batches_per_epoch // self.update_freq,
            reference_behaviour=reference,
        )
        self.precision = Precision(recipe.amp, device)
        self.progress, averaged = Progress(), None
        seed_everything(seed_of(recipe) + process.rank())
        if resume is not None:
            averaged = self._resume(resume)
        elif (folder / "latest").is_dir() and process.is_main():
            logger.warning(
                f"{folder} holds the checkpoints of an earlier run, which this one writes over; to go on "
                f"with that run use -o Global.checkpoints={folder / 'latest'}, to keep it another output_dir"
            )
        self.ema: ExponentialMovingAverage | None = None
        if recipe.ema is not None:
            self.ema = ExponentialMovingAverage(self.model, recipe.ema.decay, recipe.ema.warmup)
            self.ema.go_on(averaged, self.progress.ema_steps)
        unused = mode.leaves_parts_unused(self.model, self.loss)
        self.distributed_model = distributed.replicate(self.model, device, unused)
        self.step = build_step(
            Workbench(
                recipe=recipe,
                model=self.model,
                replica=self.distributed_model,
                loss=self.loss,
                optimizers=self.optimizers,
                precision=self.precision,
                device=device,
                layout=memory_layout(self.model, device),
                update_freq=self.update_freq,
                refuse=lambda losses: self._refuse_nonfinite(self.step.position, losses),
            ),
            Feed(self.loader, endless=self.batches_per_epoch > len(self.loader)),
        )
        self.kept = resume
        """The newest checkpoint of this run; that of an earlier run in the same folder is none."""
        self.stop = StopRequest()
        self.clock = Clock()
        self.evaluated_epoch = 0
        self.last_metrics: dict[str, float] = {}

    def run(self) -> TrainResult:
        """All epochs, then the final score."""
        started = time.perf_counter()
        total = self.epochs * self.batches_per_epoch
        images, training = 0, 0.0
        with (
            suitable_threads(self.recipe, self.model, self.batch_shape, self.device),
            self.stop.listening(),
            Tracker(self.folder, total, self.settings.tensorboard) as tracker,
        ):
            self.tracker = tracker
            logger.info(self._introduction())
            while self.progress.epoch <= self.epochs and not self.stop.agreed():
                images += self._epoch()
                training += self.clock.seconds_counted
            if self.progress.epoch > self.epochs:
                self._final_score()
        stopped_early = self.stop.signal is not None and self.progress.epoch <= self.epochs
        seconds = time.perf_counter() - started
        if stopped_early:
            where = f"epoch {self.progress.epoch}, batch {self.progress.batches_done}"
            go_on = f"; go on with -o Global.checkpoints={self.kept}" if self.kept else ""
            logger.warning(f"stopped by {self.stop.signal} at {where}{go_on}")
        else:
            logger.info(
                f"done in {duration(seconds)}: {spell(self.last_metrics) or 'not scored'}; {self.folder}"
            )
        return TrainResult(
            folder=str(self.folder),
            epochs=self.progress.epoch - 1,
            iterations=self.progress.iteration,
            seconds=seconds,
            images_per_second=images / max(training, 1e-9),
            metrics=self.last_metrics,
            best_metric=self.progress.best_metric,
            best_epoch=self.progress.best_epoch,
            interrupted=self.stop.signal if stopped_early else None,
        )

    def _epoch(self) -> int:
        progress, every = self.progress, max(int(self.settings.print_batch_step), 1)
        epoch = progress.epoch
        means = Means(progress.loss_sums[process.rank()] if progress.loss_sums else {}, progress.loss_count)
        pending: list[tuple[int, dict[str, Tensor]]] = []
        self.distributed_model.train()
        self.clock.restart()
        images = 0
        self.optimizers.zero_grad()
        for batch in self.clock.timed(self.step.batches(progress)):
            at_update = (means.count + len(pending) + 1) % self.update_freq == 0
            losses = self._step(batch, at_update)
            self.step.note(progress)
            progress.iteration += 1
            count = self.step.count(batch)
            images += count
            self.clock.count(count)
            pending.append((progress.batches_done, losses))
            told = progress.batches_done % every == 0 or progress.batches_done == self.batches_per_epoch
            if told or self.device.type == "cpu":
                self._collect(pending, means)
                lr = self.optimizers.learning_rate[0]
                figures = means.means()
                self.tracker.batch(epoch, self.epochs, progress.iteration, lr, figures, self.clock)
                if told:
                    self.tracker.lines(epoch, self.epochs, progress.batches_done, self.batches_per_epoch, lr,
                                       figures, self.clock, progress.iteration)  # fmt: skip
            if at_update and progress.batches_done < self.batches_per_epoch and self.stop.agreed():
                self._collect(pending, means)
                progress.loss_sums, progress.loss_count = distributed.gather_objects(means.sums), means.count
                self.clock.stop()
                self._save("latest")
                return images
            if progress.batches_done >= self.batches_per_epoch:
                break
        self._collect(pending, means)
        self.clock.stop()
        self._finish_epoch(epoch, distributed.mean_over_processes(means.means()))
        return images

    def _step(self, batch: dict[str, Any], update: bool) -> dict[str, Tensor]:
        """One iteration of the mode. Returns the losses of the batch, detached."""
        losses = self.step.run(batch, update)
        if update and self.ema is not None:
            self.ema.update(self.model)
        return losses

    def _collect(self, pending: list[tuple[int, dict[str, Tensor]]], means: Means) -> None:
        """Move the losses of the batches since the last call into the means, refusing NaN and infinity."""
        for batch, losses in pending:
            values = {name: float(value) for name, value in losses.items()}
            self._refuse_nonfinite(batch, losses)
            means.add(values)
        pending.clear()

    def _refuse_nonfinite(self, batch: int, losses: Mapping[str, Tensor]) -> None:
        bad = {name: v for name, value in losses.items() if not math.isfinite(v := float(value.detach()))}
        if not bad:
            return
        part = next((name for name in bad if name != "loss"), "loss")
        kept = f"the last good checkpoint is {self.kept}" if self.kept else "no checkpoint was written yet"
        raise LookalikeError(
            f"{part} became {bad[part]} in epoch {self.progress.epoch}, batch {batch} (lr "
            f"{self.optimizers.learning_rate[0]:.3g}); {kept}. A lower learning rate, a longer warm-up or "
            "clip_grad_norm usually helps"
        )

    def _finish_epoch(self, epoch: int, means: dict[str, float]) -> None:
        """Evaluate where it is time, then write the checkpoints."""
        # each process saw other pictures in its last batch: all go on with the batch norms of the first one
        distributed.share(self.model.buffers())
        if self.ema is not None:
            average = self.ema.average
            distributed.share(average[name] for name, _ in self.model.named_buffers() if name in average)
        logger.info(
            f"[Train][Epoch {epoch}/{self.epochs}][Avg]{spell(means)}, "
            f"ips: {self.clock.images_per_second:.2f} images/s"
        )
        self.progress.history.append({"epoch": epoch, **means, "lr": self.optimizers.learning_rate[0]})
        interval = max(int(self.settings.eval_interval), 1)
        metric, better = None, False
        due = epoch % interval == 0 or epoch == self.epochs
        if self.online is not None and due and epoch >= int(self.settings.start_eval_epoch or 0):
            metrics = self._score(self.online, epoch)
            metric = next(iter(metrics.values()))
            self.progress.history[-1]["eval"] = metrics
            best = self.progress.best_metric
            better = best is None or not math.isfinite(best) or metric >= best
            if better:
                self.progress.best_metric, self.progress.best_epoch = metric, epoch
        self.optimizers.epoch_end(metric)
        self.progress.epoch, self.progress.batches_done, self.progress.positions = epoch + 1, 0, {}
        self.progress.loss_sums, self.progress.loss_count = [], 0
        # best_model first: after a crash between the two, `latest` does not claim a best that is not there
        if better:
            self._save("best_model")
            keep_student(self.recipe, self.folder)
        self._save("latest")
        interval = int(self.settings.save_interval)
        if interval > 0 and epoch % interval == 0:
            checkpoints.copy_checkpoint(self.folder / "latest", self.folder / f"epoch_{epoch}")
        distributed.barrier()

    def _score(self, benchmark: Benchmark, epoch: int) -> dict[str, float]:
        """Figures of the weights to use: the averaged ones where there is EMA, told beside the raw ones."""
        if self.ema is None:
            evaluation = score(self.model, self.recipe, benchmark, self.device)
        else:
            if self.recipe.ema is not None and not self.recipe.ema.skip_raw_evaluation:
                raw = score(self.model, self.recipe, benchmark, self.device)
                self.tracker.evaluated(epoch, f"{benchmark.name}, raw weights", raw.metrics)
            with self.ema.applied_to(self.model):
                evaluation = score(self.model, self.recipe, benchmark, self.device)
        told = {**evaluation.metrics, **evaluation.losses}
        self.tracker.evaluated(epoch, "Avg" if benchmark.name == "Eval" else benchmark.name, told)
        self.last_metrics = dict(evaluation.metrics)
        if benchmark.name == "Eval":
            self.evaluated_epoch = epoch
        return self.last_metrics

    def _final_score(self) -> None:
        """Score `DataLoader.Eval` once at the end, unless the last epoch just did.

        With a Validation block the model chosen on it is scored; without online evaluation the last one is,
        and it becomes best_model.
        """
        best = self.folder / "best_model"
        if self.online is None:
            if not (self.folder / "latest").is_dir():  # a finished run, resumed into another folder
                self._save("latest")
            checkpoints.copy_checkpoint(self.folder / "latest", best)
            keep_student(self.recipe, self.folder)
            logger.info("no evaluation chose among the epochs: best_model is the last one")
        if self.benchmark is None or self.evaluated_epoch == self.epochs:
            return
        distributed.barrier()
        if self.validation is not None and self.online is not None and best.is_dir():
            load_weights(self.model, str(best))
            evaluation = score(self.model, self.recipe, self.benchmark, self.device)
            self.tracker.evaluated(
                self.progress.best_epoch or self.epochs, "Final, best_model", evaluation.metrics
            )
            self.last_metrics = dict(evaluation.metrics)
            scored = [best]
        else:
            self._score(self.benchmark, self.epochs)
            scored = [self.folder / "latest", *([best] if self.online is None else [])]
        for folder in scored:
            checkpoints.keep_score(folder, self.last_metrics)

    def _save(self, name: str) -> None:
        states = distributed.gather_objects(checkpoints.random_state(self.device))
        if self.ema is not None:
            self.progress.ema_steps = self.ema.steps
        checkpoints.save_checkpoint(
            self.folder / name,
            self.model,
            self.loss,
            self.optimizers,
            self.precision.scaler,
            self.progress,
            states,
            self.ema.average if self.ema is not None else None,
            self.recipe.dump(),
        )
        if name == "latest":
            self.kept = self.folder / name

    def _resume(self, folder: Path) -> dict[str, Tensor] | None:
        """Restore a checkpoint; returns the averaged weights, if it has any."""
        self.progress, averaged = checkpoints.load_checkpoint(
            folder, self.model, self.loss, self.optimizers, self.precision.scaler, self.device
        )
        kept = folder.parent / "best_model"
        if kept.is_dir() and folder.parent.resolve() != self.folder.resolve():
            checkpoints.copy_checkpoint(kept, self.folder / "best_model")
            keep_student(self.recipe, self.folder)
        if self.progress.epoch > self.epochs:
            logger.warning(
                f"{folder} is trained to epoch {self.progress.epoch - 1} already and Global.epochs is "
                f"{self.epochs}: nothing is trained"
            )
        changed = checkpoints.changed_keys(folder, self.recipe)
        if changed:
            logger.warning(f"since {folder} was written these keys changed: {', '.join(changed)}")
        logger.info(
            f"resumed from {folder}: epoch {self.progress.epoch}, batch {self.progress.batches_done}, "
            f"best {self.progress.best_metric if self.progress.best_metric is not None else 'not yet known'}"
        )
        return averaged

    def _batches_per_epoch(self) -> int:
        """Batches of an epoch: those of the loader's first, for samplers whose epochs differ in length.

        `Global.iter_per_epoch` may ask for fewer, or for more: the loader begins again then.
        """
        length = len(self.loader)
        wanted = int(self.settings.iter_per_epoch or length)
        batches = wanted // self.update_freq * self.update_freq
        if batches == 0:
            raise UserError(
                f"an epoch has {wanted} batches, too few for one update (Global.update_freq "
                f"{self.update_freq}): use a smaller batch, or drop_last: False"
            )
        return batches

    def _introduction(self) -> str:
        parameters = sum(p.numel() for p in self.model.parameters() if p.requires_grad)
        processes = f", {process.world_size()} processes" if process.world_size() > 1 else ""
        precision = (
            f", {str(self.precision.dtype).removeprefix('torch.')} autocast" if self.precision.enabled else ""
        )
        return (
            f"training {parameters:,} parameters for {self.epochs} epochs of {self.batches_per_epoch} "
            f"batches on {self.device}{processes}{precision}; seed {seed_of(self.recipe)}; {self.folder}"
        )


def _make_folder(folder: Path) -> None:
    try:
        with space_for(folder):
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"Global.output_dir: {folder} cannot be made: {error.strerror}") from None
