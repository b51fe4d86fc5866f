"""Which parts of a model a loss reaches: data parallelism has to know beforehand."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lookalike.model import DistillationModel, Model


def leaves_parts_unused(model: Model, terms: Iterable[Any]) -> bool:
    """Whether losses leave a neck or head without a gradient.

    Of several models, and of a neck that reads layers on the way, that is not known beforehand.
    """
    if isinstance(model, DistillationModel) or getattr(model.neck, "takes_layers", False):
        return True
    read = {getattr(term, "feature_from", None) for term in terms}
    through_neck = read & {"features", "neck"} or ("logits" in read and model.head_feature_from == "neck")
    return (model.head is not None and "logits" not in read) or (model.neck is not None and not through_neck)
