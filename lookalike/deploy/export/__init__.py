"""From a recipe with weights to a model folder. Needs torch."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lookalike.deploy.export.from_recipe import ExportOptions, ExportResult, export, export_model

__all__ = ["ExportOptions", "ExportResult", "export", "export_model"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'lookalike.deploy.export' has no attribute '{name}'")
    # when it is used, since what reads a model folder imports modules of this room as well
    return getattr(importlib.import_module("lookalike.deploy.export.from_recipe"), name)
