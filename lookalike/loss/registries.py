"""The registry of losses."""

from __future__ import annotations

from lookalike.core.registry import Registry
from lookalike.loss.base import Term

losses: Registry[Term] = Registry("loss")
"""Names in `Loss.Train` of a recipe."""
