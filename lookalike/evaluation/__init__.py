"""An `encode` callable and labelled images in, figures out.

Gathering over processes, label and camera rules.

Names are loaded when they are first used: what scores features (`score_features`, `FeatureSet`, the metrics)
works without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from lookalike.evaluation.feature_set import FeatureSet
from lookalike.evaluation.metrics import (
    MetricSpec,
    TopkAccuracy,
    build_accuracies,
    build_metrics,
    check_metrics,
)
from lookalike.evaluation.outcome import SetEvaluation
from lookalike.evaluation.scoring import Evaluation, score_features

if TYPE_CHECKING:
    from lookalike.evaluation.classification import evaluate_classes
    from lookalike.evaluation.evaluation import evaluate
    from lookalike.evaluation.features import binarise, collect_features, normalise
    from lookalike.evaluation.loss import training_labels, with_labels_of_training
    from lookalike.evaluation.verification import evaluate_pairs

_NEED_TORCH = {
    "binarise": "features",
    "collect_features": "features",
    "evaluate": "evaluation",
    "evaluate_classes": "classification",
    "evaluate_pairs": "verification",
    "normalise": "features",
    "training_labels": "loss",
    "with_labels_of_training": "loss",
}

__all__ = [
    "Evaluation",
    "FeatureSet",
    "MetricSpec",
    "SetEvaluation",
    "TopkAccuracy",
    "binarise",
    "build_accuracies",
    "build_metrics",
    "check_metrics",
    "collect_features",
    "evaluate",
    "evaluate_classes",
    "evaluate_pairs",
    "normalise",
    "score_features",
    "training_labels",
    "with_labels_of_training",
]


def __getattr__(name: str) -> Any:
    if name not in _NEED_TORCH:
        raise AttributeError(f"module 'lookalike.evaluation' has no attribute '{name}'")
    return getattr(importlib.import_module(f"lookalike.evaluation.{_NEED_TORCH[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
