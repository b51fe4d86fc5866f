"""The data sets of a recipe: what its `DataLoader` blocks hold, read as training and evaluation would."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lookalike.core.component import Component, Place, Section
from lookalike.core.errors import LookalikeError
from lookalike.data import (
    Loader,
    build_dataset,
    build_loader,
    build_sampler,
    build_transforms,
    loader_settings,
)
from lookalike.doctor.findings import Report
from lookalike.doctor.parts import check_transforms
from lookalike.images import Records, unify_classes
from lookalike.recipe import Recipe

TRAIN = "DataLoader.Train"


@dataclass
class Block:
    """One data set: its records where they could be read, its loader where all of it could be built."""

    path: str
    section: Section
    records: Records | None = None
    loader: Loader | None = None

    @property
    def files(self) -> Records | None:
        """The records without those that are turned copies of others."""
        if self.records is None or self.loader is None:
            return self.records
        return self.records.subset(range(self.loader.dataset.num_pictures))

    @property
    def name(self) -> str:
        return self.path.removeprefix("DataLoader.")


@dataclass
class Sets:
    """The data sets of a recipe. A search set is (query, gallery); one set searched in itself is both."""

    train: Block | None = None
    searches: dict[str, tuple[Block, Block]] = field(default_factory=dict)

    def batch_size(self, default: int) -> int:
        """Images of a training batch, as the sampler says even where the pictures are missing."""
        if self.train is None:
            return default
        if self.train.loader is not None:
            return self.train.loader.batch_size
        sampler = self.train.section.get("sampler") or self.train.section.get("batch_sampler")
        told = sampler.get("batch_size") if isinstance(sampler, Mapping) else None
        return told if isinstance(told, int) and told > 0 else default

    def blocks(self) -> Iterator[Block]:
        """Each data set once."""
        if self.train is not None:
            yield self.train
        for query, gallery in self.searches.values():
            yield query
            if gallery is not query:
                yield gallery


def read_sets(recipe: Recipe, missing: list[str], report: Report) -> Sets:
    """Read every data set whose files are there; `missing` are the keys of those that are not."""
    sets = Sets()
    data = recipe.data
    if data is None or data.Train is None:
        report.wrong("data", f"{recipe.name}: there is no DataLoader.Train, nothing to train on")
    else:
        sets.train = _read(data.Train, TRAIN, recipe, missing, report)
    if data is None or data.Eval is None:
        report.doubtful("data", f"{recipe.name}: there is no DataLoader.Eval: the model would not be scored")
    for name in ("Validation", "Eval"):
        section = getattr(data, name, None)
        if section is None:
            continue
        path = f"DataLoader.{name}"
        if "dataset" in section:
            block = _read(section, path, recipe, missing, report)
            sets.searches[name] = (block, block)
            continue
        own = {key: value for key, value in section.items() if value is not None}
        blocks = {key: _read(value, f"{path}.{key}", recipe, missing, report) for key, value in own.items()}
        if len(blocks) == 1:
            block = next(iter(blocks.values()))
            sets.searches[name] = (block, block)
        elif {"Query", "Gallery"} <= set(blocks):
            sets.searches[name] = (blocks["Query"], blocks["Gallery"])
            _number_alike(blocks["Query"], blocks["Gallery"], report)
    return sets


def _number_alike(query: Block, gallery: Block, report: Report) -> None:
    if query.records is None or gallery.records is None:
        return
    with report.catch("labels"):
        query.records, gallery.records = unify_classes(query.records, gallery.records)


def _read(section: Any, path: str, recipe: Recipe, missing: list[str], report: Report) -> Block:
    section = section if isinstance(section, Section) else Section(section, Place(path))
    block = Block(path, section)
    training = path == TRAIN
    settings = recipe.global_
    if any(key.startswith(f"{path}.") for key in missing):
        _piece_by_piece(block, recipe, training, readable=False, report=report)
        return block
    try:
        block.loader = build_loader(
            section,
            seed=settings.seed or 0,
            rank=0,
            world_size=1,
            epochs=settings.epochs,
            training=training,
            reference_behaviour=settings.reference_behaviour,
        )
        block.records = block.loader.records
    except LookalikeError as error:
        report.wrong("data", str(error))
        _piece_by_piece(block, recipe, training, readable=True, report=report)
    else:
        report.right(
            "data",
            f"{path}: {len(block.records)} pictures of {block.records.num_classes} classes"
            + (f", {len(block.loader)} batches an epoch" if training else ""),
        )
    return block


def _piece_by_piece(block: Block, recipe: Recipe, training: bool, readable: bool, report: Report) -> None:
    """A block fails with its first mistake; its other parts may have more."""
    section, reference = block.section, recipe.global_.reference_behaviour
    check_transforms(section, f"{block.path}.dataset.transform_ops", reference, report)
    if readable and section.get("dataset") is not None:
        with report.catch("data"):
            block.records = build_dataset(section["dataset"], build_transforms([])).records
    named = section.get("sampler") or section.get("batch_sampler")
    if training and named is not None and block.records is not None:
        with report.catch("sampler"):
            build_sampler(named, block.records, epochs=recipe.global_.epochs, reference_behaviour=reference)
    given = section.get("loader")
    if isinstance(given, Mapping):
        with report.catch("data"):
            loader_settings.build(Component("loader", dict(given), section.place_of("loader")))
