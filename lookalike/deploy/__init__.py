"""The model folder and what runs it. The Embedder needs no torch; `export` and `load_torch` do."""

from __future__ import annotations

import importlib
from typing import Any

from lookalike.deploy.embedder import Embedder
from lookalike.deploy.model_folder import ModelFolder
from lookalike.deploy.thresholds import Thresholds

__all__ = ["Embedder", "ModelFolder", "Thresholds", "load_torch"]


def __getattr__(name: str) -> Any:
    if name != "load_torch":
        raise AttributeError(f"module 'lookalike.deploy' has no attribute '{name}'")
    # by name, so that nobody who uses a model folder needs torch
    return getattr(importlib.import_module("lookalike.deploy.architecture"), name)
