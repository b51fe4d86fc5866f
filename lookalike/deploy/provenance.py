"""Where a model comes from: what its folder says of the training and of the pictures behind its figures."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from lookalike.core.component import Component, Section
from lookalike.core.errors import UserError
from lookalike.evaluation.recipe_sets import evaluation_blocks
from lookalike.recipe import Recipe
from lookalike.recipe.comparing import recipe_of_training

_LISTS = ("cls_label_path", "image_root", "name")
"""What names the pictures of a `dataset` block, the best first."""


@dataclass(frozen=True)
class Provenance:
    """made_from: recipe, weights, training. metrics: the figures at the end of training, else those of the
    checkpoint's epoch, taken on `metrics_data`.
    """

    made_from: dict[str, Any]
    metrics: dict[str, float]
    metrics_data: dict[str, Any]

    @classmethod
    def of(cls, recipe: Recipe, weights: str | None) -> Provenance:
        """What is known of the weights of a recipe. Raises UserError where they tell it and are damaged.

        Pictures are those that the recipe beside the weights names: an export may name others.
        """
        epoch, final = _last_epoch(weights), _final_score(weights)
        trained = recipe_of_training(recipe) if weights else recipe
        train = trained.data.Train if trained.data is not None else None
        made_from = {
            "recipe": recipe.name,
            "weights": weights,
            "epochs": epoch.get("epoch"),
            "trained_on": _pictures(train) if weights and train is not None else None,
            "lookalike": importlib.import_module("lookalike").__version__,
            "torch": torch.__version__,
        }
        if final:
            return cls(made_from, final, _described(trained, "Eval"))
        return cls(made_from, epoch.get("eval") or {}, scored_on(trained))

    def of_another_model(self, changed: list[str]) -> Provenance:
        """Without figures, which are those of the model that was trained: `changed` keys make another one."""
        return replace(
            self,
            made_from=self.made_from | {"changed_since_training": ", ".join(changed)},
            metrics={},
            metrics_data={},
        )


def scored_on(recipe: Recipe) -> dict[str, str]:
    """The pictures that the figures of a checkpoint's epoch are of: those that chose it, where there are
    such.
    """
    if recipe.data is None or recipe.data.Validation is None:
        return _described(recipe, "Eval")
    told = _described(recipe, "Validation")
    return told | {"note": "these chose the best epoch, so that their figures flatter"} if told else {}


def _described(recipe: Recipe, name: str) -> dict[str, str]:
    try:
        return data_of(evaluation_blocks(recipe, name), name)
    except UserError:  # it cannot be scored as it stands, which is no reason not to export it
        return {}


def data_of(blocks: Mapping[str, Section], name: str) -> dict[str, str]:
    """What the blocks of `DataLoader.NAME` call their pictures, by their paths in the recipe."""
    return {f"DataLoader.{name}.{part}": _pictures(block) for part, block in blocks.items()}


def _pictures(block: Any) -> str:
    """What a block calls its pictures: a list file, a folder, or the kind of data set."""
    if not block.get("dataset"):
        return ""
    component = Component.of(block["dataset"], "dataset")
    named = {**component.arguments, "name": component.name}
    return next(str(named[key]) for key in _LISTS if named.get(key))


def _last_epoch(weights: str | None) -> dict[str, Any]:
    """What a checkpoint folder says of the epoch that it holds; empty of other weights."""
    last = _of_state(
        weights, "training.json", lambda told: dict(told["history"][-1]) if told["history"] else {}
    )
    return last or {}


def _final_score(weights: str | None) -> dict[str, float]:
    """What a checkpoint folder says of its score when training was done; empty where it was not scored."""
    return _of_state(weights, "score.json", lambda told: dict(told["metrics"])) or {}


def _of_state(weights: str | None, name: str, part: Callable[[Any], Any]) -> Any:
    file = Path(weights or "") / "state" / name
    if weights is None or not file.is_file():
        return None
    try:
        return part(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{file}, which says how these weights were trained, is damaged ({type(error).__name__}: "
            f"{error}); remove it to export them without their figures"
        ) from None
