"""What a recipe says otherwise than the one beside the weights, which they were trained with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lookalike.core.errors import UserError
from lookalike.core.log import warn_once
from lookalike.recipe.loading import load_recipe
from lookalike.recipe.recipe import Recipe
from lookalike.recipe.tree import plain

CHECKPOINT_RECIPE = "recipe.yaml"

_FEATURE_KEYS = ("feature_normalize", "feature_binarize")

_OF_TRAINING_ONLY = (
    "name",
    "is_rec",
    "use_sync_bn",
    "freeze",
    "freeze_norm_statistics",
    "infer_output_key",
    "infer_add_softmax",
    "Backbone.pretrained",
    "Backbone.use_ssld",
    "Backbone.use_ssld_stage1_pretrained",
    "Backbone.use_imagenet22k_pretrained",
    "Backbone.use_imagenet22kto1k_pretrained",
    "Backbone.freeze_before",
    "Backbone.freeze_befor",
)
"""Keys of `Arch` that change how weights came about, or which output is asked for, and no feature."""


def recipe_of_weights(weights: str | Path) -> Recipe | None:
    """The recipe beside weights (a checkpoint folder, or a file in it), None where there is none."""
    path = Path(weights)
    file = (path if path.is_dir() else path.parent) / CHECKPOINT_RECIPE
    return load_recipe(file) if file.is_file() else None


def recipe_of_training(recipe: Recipe) -> Recipe:
    """The recipe beside the weights of a recipe; that recipe itself where there is none, or none that can be
    read, which is told when the model is built.
    """
    try:
        return (recipe_of_weights(recipe.weights) if recipe.weights else None) or recipe
    except UserError:
        return recipe


def different_keys(before: Any, now: Any, path: str = "") -> list[str]:
    """Paths of the values in which two nested mappings differ, sorted; a key without a value is none."""
    left, right = _flat(before, path), _flat(now, path)
    return sorted(key for key in left.keys() | right.keys() if left.get(key) != right.get(key))


def different_features(trained: Recipe, recipe: Recipe, with_head: bool = False) -> list[str]:
    """Keys for which the features of a recipe are not those that were trained: of the network, and of
    `Global` those about features.

    The head takes part only in class scores; `with_head` compares it as well.
    """
    before, now = plain(_network(trained, recipe)), plain(recipe.network)
    ignored = _OF_TRAINING_ONLY if with_head else (*_OF_TRAINING_ONLY, "Head", "head_feature_from")
    found = [
        f"Arch.{key}"
        for key in different_keys(before, now)
        if not any(key == each or key.startswith(f"{each}.") for each in ignored)
    ]
    settings = [
        f"Global.{key}"
        for key in _FEATURE_KEYS
        if getattr(trained.global_, key) != getattr(recipe.global_, key)
    ]
    return [*found, *settings]


def warn_where_trained_otherwise(
    recipe: Recipe, with_head: bool = False, more: Callable[[Recipe, Recipe], list[str]] | None = None
) -> list[str]:
    """Warn in one sentence of what differs from the recipe that the weights were trained with, if anything.

    `more` tells further keys, given that recipe and this one. Returns all of them.
    """
    if not recipe.weights:
        return []
    try:
        trained = recipe_of_weights(recipe.weights)
        if trained is None:
            return []
        keys = [*different_features(trained, recipe, with_head), *(more(trained, recipe) if more else [])]
    except UserError as error:  # nothing of it is used, so that it need not stop what is asked for
        warn_once(f"{recipe.weights}: the recipe it was trained with cannot be compared: {error}")
        return []
    if keys:
        warn_once(f"{recipe.weights} was trained with other values of {', '.join(keys)}")
    return keys


def _network(trained: Recipe, recipe: Recipe) -> Any:
    """The block of the same model: of several models the one that `recipe` names."""
    return trained.networks.get(recipe.student) or trained.network


def _flat(values: Any, path: str) -> dict[str, Any]:
    """Leaves of nested mappings by their paths, without keys that have no value."""
    if isinstance(values, dict) and values:
        return {
            inner: leaf
            for key, value in values.items()
            for inner, leaf in _flat(value, f"{path}.{key}" if path else key).items()
        }
    return {} if values is None else {path: values}
