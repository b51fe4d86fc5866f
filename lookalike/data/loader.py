"""Batches for training and evaluation: the same ones for the same seed and epoch, however many workers load
them.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import signal
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, default_collate

from lookalike.core import process
from lookalike.core.component import Component, Section
from lookalike.core.errors import LookalikeError, UserError, did_you_mean
from lookalike.core.log import logger, note_once
from lookalike.core.registry import Registry, Swallowed
from lookalike.data.batch_operations import BatchMixing, build_mixing
from lookalike.data.dataset import ImageDataset, Sample, build_dataset
from lookalike.data.registries import Sampler, samplers
from lookalike.data.views import build_views, has_views
from lookalike.images.records import Records

Batch = dict[str, Any]


@dataclass(frozen=True)
class LoaderSettings:
    """What a recipe says under `loader`. `num_workers` 0 loads in the process itself."""

    num_workers: int = 0
    prefetch_factor: int = 2
    persistent_workers: bool = True
    pin_memory: bool | None = None
    timeout: float = 0.0
    start_method: Literal["fork", "spawn", "forkserver"] | None = None

    def __post_init__(self) -> None:
        if self.num_workers < 0 or self.prefetch_factor < 1 or self.timeout < 0:
            raise UserError(
                "loader needs num_workers and timeout of at least 0 and prefetch_factor of at least 1"
            )


loader_settings: Registry[LoaderSettings] = Registry("loader")
loader_settings.register(
    "loader",
    swallows={
        "use_shared_memory": Swallowed("workers always hand batches over in shared memory", (True, None)),
        "use_dali": "images are decoded by OpenCV on the CPU",
        "use_buffer_reader": "batches are fetched ahead as prefetch_factor says",
        "places": "the training loop moves batches to its device",
        "return_list": "a batch is a mapping",
        "feed_list": "a batch is a mapping",
        "worker_init_fn": "workers are seeded by the image",
    },
)(LoaderSettings)


class Loader:
    """Iterates over the batches of an epoch.

    A batch is {"image": (N, C, H, W) float32, "label": (N,), "index": (N,)} and, where known, "camera":
    (N,).

    The batches of an epoch follow from the sampler, the seed and the epoch. `set_epoch(epoch,
    skip_batches=n)` leaves out the first n: what comes then is bit for bit what an uninterrupted epoch
    would have given. `batches_done` counts the batches of the epoch that are done with, left-out and wholly
    broken ones included; it is what a checkpoint has to keep.

    Broken images are dropped from their batch and listed in `broken` (path to reason) and `broken_at` (path
    to `file:line` of the list that names it). A batch without a whole image is left out. Raises UserError
    when more images are broken than `max_broken_share` of the set.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        sampler: Sampler,
        settings: LoaderSettings | None = None,
        *,
        training: bool = False,
        world_size: int = 1,
        mixing: BatchMixing | None = None,
    ) -> None:
        settings = settings or LoaderSettings()
        self.mixing = mixing
        self.dataset, self.sampler, self.settings = dataset, sampler, settings
        self.training, self.world_size = training, world_size
        self.broken: dict[str, str] = {}
        self.broken_at: dict[str, str] = {}
        self.epoch = self.batches_done = 0
        self._keys = _Keys(sampler, len(dataset))
        self._skip = 0
        workers = settings.num_workers
        pin = torch.cuda.is_available() if settings.pin_memory is None else settings.pin_memory
        self._batches: DataLoader[Sample] = DataLoader(
            dataset,
            batch_sampler=self._keys,  # keys, not bare positions
            num_workers=workers,
            collate_fn=collate,
            pin_memory=pin,
            timeout=settings.timeout if workers else 0,
            worker_init_fn=_start_worker,
            multiprocessing_context=settings.start_method if workers else None,
            generator=torch.Generator().manual_seed(0),  # keeps the process's own generator untouched
            prefetch_factor=settings.prefetch_factor if workers else None,
            persistent_workers=settings.persistent_workers and workers > 0,
        )

    @property
    def records(self) -> Records:
        return self.dataset.records

    @property
    def batch_size(self) -> int:
        """Images a batch has in one process; the last batch, and one with broken images, has fewer."""
        return self.sampler.batch_size

    def set_epoch(self, epoch: int, skip_batches: int = 0) -> None:
        """Choose the epoch of the next iteration, and how many of its first batches it leaves out."""
        if skip_batches < 0:
            raise ValueError(f"skip_batches must be at least 0, got {skip_batches}")
        self.epoch, self._skip = epoch, skip_batches
        self.sampler.set_epoch(epoch)
        self.dataset.set_epoch(epoch)

    def __len__(self) -> int:
        """Batches of the whole epoch, left-out ones included."""
        return len(self.sampler)

    def __iter__(self) -> Iterator[Batch]:
        self._note_cached(self.dataset.fill_cache())
        self._keys.epoch, self._keys.skip = self.epoch, self._skip
        self.batches_done, self._skip = self._skip, 0
        batches = iter(self._batches)
        if self.settings.num_workers:
            _running.add(batches)
        for batch in batches:
            self.batches_done += 1
            self._note_batch(batch)
            if "image" in batch:
                if self.mixing is not None:
                    batch["image"], batch["label"] = self.mixing(
                        batch["image"], batch["label"], self.epoch, self.batches_done
                    )
                yield {name: batch[name] for name in batch if name not in ("broken", "failed")}

    def _note_batch(self, batch: Mapping[str, Any]) -> None:
        if batch["failed"]:
            raise UserError(batch["failed"][0])
        self._note_broken(batch["broken"])
        if self.training and self.world_size > 1 and "image" not in batch:
            # going on would leave the other processes waiting for this one
            raise LookalikeError(
                f"all images of a batch are broken ({self._told(batch['broken'][0][0])}, …), and the other "
                "processes wait for it: repair or remove them"
            )

    def _note_cached(self, broken: Mapping[str, str]) -> None:
        """Tell of what a cache could not decode before the first batch, and not when it is drawn."""
        if broken.keys() <= self.broken.keys():
            return
        first = {path: index for index, path in reversed(list(enumerate(self.records.paths)))}
        self._note_broken((path, reason, first[path]) for path, reason in broken.items())

    def _note_broken(self, broken: Iterable[tuple[str, str, int]]) -> None:
        """Remember and tell of broken images, and why. Raises UserError where they are too many."""
        fresh = False
        for path, reason, index in broken:
            if path in self.broken:
                continue
            fresh = True
            self.broken[path], self.broken_at[path] = reason, self.records.where(index)
            logger.warning("%s", self._told(path, "broken image left out: "))
        # one broken picture in a small set is left out and told, like one in a large set
        allowed = max(
            self.dataset.max_broken_share * self.dataset.num_pictures,
            float(self.dataset.max_broken_share > 0),
        )
        if fresh and len(self.broken) > allowed:
            some = "; ".join(self._told(path) for path in itertools.islice(self.broken, 5))
            more = ", …" if len(self.broken) > 5 else ""
            raise UserError(
                f"{len(self.broken)} of the {self.dataset.num_pictures} images of "
                f"{self.records.origin or 'the set'} are broken, more than max_broken_share "
                f"({self.dataset.max_broken_share:g}) allows: {some}{more}"
            )

    def _told(self, path: str, what: str = "") -> str:
        """`train.txt:17: … path: reason`, without the line where a folder was read and not a list."""
        place = self.broken_at[path]
        return f"{'' if place == path else f'{place}: '}{what}{path}: {self.broken[path]}"


class _Keys:
    """The sampler's positions with the epoch, and how often the image was drawn before in it.

    The epoch travels with each position because workers that live on have no other way to learn of it. A
    sampler that draws sizes gives (width, height, position); the size follows at the end of the key.
    """

    def __init__(self, sampler: Sampler, num_images: int) -> None:
        self.sampler, self.num_images, self.epoch, self.skip = sampler, num_images, 0, 0

    def __len__(self) -> int:
        return max(len(self.sampler) - self.skip, 0)

    def __iter__(self) -> Iterator[list[tuple[int, ...]]]:
        epoch, skip = self.epoch, self.skip
        drawn = np.zeros(self.num_images, dtype=np.int32)
        for number, batch in enumerate(self.sampler):
            keys = []
            for entry in batch:
                *size, index = entry if isinstance(entry, tuple) else (entry,)
                keys.append((epoch, index, int(drawn[index]), *size))
                drawn[index] += 1
            if number >= skip:
                yield keys


def collate(samples: list[Sample]) -> Batch:
    """Stack the whole images of a batch; broken ones go to "broken", messages of misuse to "failed"."""
    batch: Batch = {
        "broken": [(*s["broken"], s["index"]) for s in samples if "broken" in s],
        "failed": [s["failed"] for s in samples if "failed" in s],
    }
    whole = [s for s in samples if "image" in s]
    shapes = {tuple(s["image"].shape) for s in whole}
    if len(shapes) > 1:
        sizes = ", ".join("x".join(map(str, shape[1:])) for shape in sorted(shapes)[:3])
        batch["failed"].append(
            f"images of one batch come out in different sizes ({sizes}): end transform_ops with an operation "
            "that fixes the size, such as ResizeImage: {size: [224, 224]}"
        )
    elif whole and not batch["failed"]:
        batch.update(default_collate(whole))
    return batch


def _start_worker(worker: int) -> None:
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    # Ctrl-C reaches the workers, too, and so may the SIGTERM of a scheduler: the training process decides
    # when they stop, after its checkpoint. A second SIGTERM is that process, ending those that do not hear it
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, signal.SIG_DFL))


_running: weakref.WeakSet[Any] = weakref.WeakSet()
"""Iterators of torch's loaders whose workers may be alive."""


@contextlib.contextmanager
def own_workers() -> Iterator[None]:
    """End the worker processes that loaders start inside the block, also where an error leaves it.

    Left to the garbage collector, torch waits ten seconds for each that the error's traceback keeps alive,
    and Python at its end for ever.
    """
    before = set(_running)
    try:
        yield
    finally:
        _end_workers(set(_running) - before)


def _end_workers(iterators: Iterable[Any] | None = None) -> None:
    for iterator in list(_running if iterators is None else iterators):
        iterator._shutdown_workers()


atexit.register(_end_workers)


def build_sampler(
    section: Any,
    records_or_labels: Records | np.ndarray | list[int],
    *,
    seed: int = 0,
    rank: int = 0,
    world_size: int = 1,
    epochs: int = 1,
    reference_behaviour: bool = False,
    lengths: Sequence[int] | None = None,
) -> Sampler:
    """Build what a recipe holds under `sampler`, for records or their labels.

    `lengths` has how many images each set of a MixDataset gives.
    """
    records = records_or_labels if isinstance(records_or_labels, Records) else None
    labels = records.labels if records is not None else np.asarray(records_or_labels, dtype=np.int64)
    component = Component.of(section, "sampler")
    try:
        return samplers.build(
            component,
            labels=labels,
            cameras=None if records is None else records.cameras,
            lengths=lengths,
            seed=seed,
            rank=rank,
            world_size=world_size,
            epochs=epochs,
            reference_behaviour=reference_behaviour,
        )
    except UserError as error:
        raise component.place.around(error) from None


def build_loader(
    section: Any,
    *,
    seed: int = 0,
    rank: int | None = None,
    world_size: int | None = None,
    epochs: int = 1,
    training: bool = True,
    reference_behaviour: bool = False,
    records: Records | None = None,
    class_num: int | None = None,
) -> Loader:
    """Build a block {dataset, sampler, loader} of a recipe: `DataLoader.Train`, `.Eval.Query` or
    `.Gallery`.

    `batch_sampler` is another name of `sampler`. `rank` and `world_size` are this process's own where they
    are not given. For an evaluation (`training=False`) every image comes once, in order: the sampler then
    says the batch size only. `records` take the place of what the dataset block would read (query and
    gallery numbered alike, a subset). `class_num` is the length of labels that `batch_transform_ops` mix, by
    default that of the set's own. Raises UserError for what is wrong in the block.
    """
    section = section if isinstance(section, Section) else Section(section)
    rank = process.rank() if rank is None else rank
    world_size = process.world_size() if world_size is None else world_size
    known = ("dataset", "sampler", "batch_sampler", "loader")
    for key in section:
        if key not in known:
            near = did_you_mean(key, known) or "."
            raise section.place.error(f"unknown key '{key}'{near} (accepts: {', '.join(known)})")
    named = section.get("sampler") or section.get("batch_sampler")
    if section.get("dataset") is None or named is None:
        missing = "dataset" if section.get("dataset") is None else "sampler"
        raise section.place.error(f"a block of images needs '{missing}' (it holds: {', '.join(section)})")
    settings = loader_settings.build(
        Component("loader", dict(section.get("loader") or {}), section.place_of("loader"))
    )
    if has_views(section["dataset"]):
        dataset: ImageDataset = build_views(
            section["dataset"], seed=seed, reference_behaviour=reference_behaviour
        )
    else:
        dataset = build_dataset(
            section["dataset"], seed=seed, reference_behaviour=reference_behaviour, records=records
        )
    component = Component.of(named, "sampler")
    if not training:
        component = _for_evaluation(component)
    sampler = build_sampler(
        component,
        dataset.records,
        seed=seed,
        rank=rank,
        world_size=world_size,
        epochs=epochs,
        reference_behaviour=reference_behaviour,
        lengths=getattr(dataset, "lengths", None),
    )
    mixing = None
    operations = Component.of(section["dataset"]).arguments.get("batch_transform_ops")
    if operations and training:
        classes = class_num or int(dataset.records.labels.max()) + 1
        path = f"{section.place.path}.dataset.batch_transform_ops".lstrip(".")
        mixing = build_mixing(operations, classes, path, seed, rank)
    return Loader(dataset, sampler, settings, training=training, world_size=world_size, mixing=mixing)


def _for_evaluation(component: Component) -> Component:
    entry = samplers.entry(component.name, component.place)
    arguments = dict(component.arguments)
    if entry.name != "DistributedBatchSampler":
        raise component.place.error(
            f"an evaluation takes every image once: use DistributedBatchSampler in place of {component.name}"
        )
    for key in ("drop_last", "shuffle"):
        if arguments.get(key):
            note_once(
                f"{component.place}: '{key}' has no effect in an evaluation, which takes every image once"
            )
        arguments[key] = False
    return Component(component.name, arguments, component.place)
