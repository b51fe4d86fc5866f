"""Lookalike learns image embeddings and recognises things by what they look like.

    from lookalike import Embedder, Gallery, load_recipe, train, evaluate, export

Names are loaded when they are first used: importing the package imports neither torch nor OpenCV.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from lookalike.deploy import Embedder, ModelFolder
    from lookalike.deploy.export import export
    from lookalike.gallery import Gallery
    from lookalike.recipe import Recipe, load_recipe
    from lookalike.training import evaluate, train

_HOMES = {
    "Embedder": "lookalike.deploy",
    "ModelFolder": "lookalike.deploy",
    "Gallery": "lookalike.gallery",
    "Recipe": "lookalike.recipe",
    "load_recipe": "lookalike.recipe",
    "train": "lookalike.training",
    "evaluate": "lookalike.training",
    "export": "lookalike.deploy.export",
}

__all__ = ["Embedder", "Gallery", "ModelFolder", "Recipe", "evaluate", "export", "load_recipe", "train"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'lookalike' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
