"""The files and folders that a recipe names, and which of them are not there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lookalike.core.component import Section
from lookalike.core.errors import UserError
from lookalike.recipe.recipe import Recipe
from lookalike.recipe.tree import place_at

_DATASET_KEYS = ("image_root", "cls_label_path", "label_root", "root_dir", "label_path", "table",
                 "val_data_path", "data_file")  # fmt: skip
_INSIDE_ROOT = ("Market1501", "DukeMTMC", "MSMT17")
"""Datasets whose `cls_label_path` is a folder inside their root, which their reader looks for itself."""
_WEIGHT_SUFFIXES = ("", ".pdparams", ".safetensors", ".pth", ".pt")


def missing_paths(
    recipe: Recipe, under: tuple[str, ...] = ("Global", "Arch", "DataLoader")
) -> list[tuple[str, str]]:
    """Keys of the recipe whose file or folder does not exist, each as (path of the key, value).

    `under` names the parts that are looked at, such as `("DataLoader.Eval",)` where nothing is trained.
    URLs count as present.
    """
    return [
        (key, value)
        for key, value, weights in _named(recipe)
        if any(key == part or key.startswith(f"{part}.") for part in under) and not _exists(value, weights)
    ]


def require_paths(recipe: Recipe, under: tuple[str, ...] = ("Global", "Arch", "DataLoader")) -> None:
    """Raise one sentence that names all missing files, with the lines that name them and the keys to set."""
    missing = missing_paths(recipe, under)
    if not missing:
        return
    places = [place_at(recipe.tree, _steps(key)) for key, _ in missing]
    files = [f"{place}: {value}" for place, (_, value) in zip(places, missing, strict=True)]
    keys = " ".join(f"-o {key}=…" for key, _ in missing)
    are = "is" if len(files) == 1 else "are"
    name = "" if places[0].file else f"{recipe.name}: "
    raise UserError(
        f"{name}{', '.join(files)} {are} not there, seen from {Path.cwd()}; say where with {keys}"
    )


def _steps(key: str) -> tuple[str | int, ...]:
    return tuple(int(step) if step.isdigit() else step for step in key.split("."))


def _named(recipe: Recipe) -> Iterator[tuple[str, str, bool]]:
    settings = recipe.global_
    for key, value in (
        ("pretrained_model", settings.pretrained_model),
        ("checkpoints", settings.checkpoints),
    ):
        if isinstance(value, str) and value:
            yield f"Global.{key}", value, True
    for network in recipe.networks.values():
        backbone = network.get("Backbone")
        if isinstance(backbone, Mapping) and isinstance(backbone.get("pretrained"), str):
            path = backbone.place_of("pretrained").path if isinstance(backbone, Section) else ""
            # as -o writes it: Arch.models.0.Teacher.Backbone.pretrained
            path = re.sub(r"\[(\d+)\]", r".\1", path)
            yield path or "Arch.Backbone.pretrained", backbone["pretrained"], True
    for number, weights in enumerate(recipe.arch.get("pretrained_list") or []):
        if isinstance(weights, str) and weights:
            yield f"Arch.pretrained_list.{number}", weights, True
    if recipe.data is not None:
        for name, block in vars(recipe.data).items():
            yield from _of_block(block, f"DataLoader.{name}")


def _of_block(block: Section | None, path: str) -> Iterator[tuple[str, str, bool]]:
    if not isinstance(block, Mapping):
        return
    dataset: Any = block.get("dataset")
    if isinstance(dataset, Mapping):
        for key in _DATASET_KEYS:
            value = dataset.get(key)
            inside = key == "cls_label_path" and dataset.get("name") in _INSIDE_ROOT
            if isinstance(value, str) and value and not inside:
                yield f"{path}.dataset.{key}", value, False
    for part in ("Query", "Gallery", "Test", "Eval", "Train"):
        yield from _of_block(block.get(part), f"{path}.{part}")


def _exists(value: str, weights: bool) -> bool:
    if "://" in value or (weights and value.startswith("PaddleClas/")):
        return True  # an address, or published weights, which are fetched when they are needed
    return any(Path(f"{value}{suffix}").exists() for suffix in (_WEIGHT_SUFFIXES if weights else ("",)))
