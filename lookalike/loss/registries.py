"""The registry of losses."""

from __future__ import annotations

from lookalike.core.registry import Registry
from lookalike.loss.base import Loss

losses: Registry[Loss] = Registry("loss")
"""Names in `Loss.Train` of a recipe."""
