"""An `encode` callable and labelled images in, figures out.

Gathering over processes, label and camera rules.
"""

from __future__ import annotations

from lookalike.evaluation.classification import evaluate_classes
from lookalike.evaluation.evaluation import Evaluation, evaluate
from lookalike.evaluation.features import FeatureSet, binarise, collect_features, normalise
from lookalike.evaluation.loss import training_labels, with_labels_of_training
from lookalike.evaluation.metrics import (
    MetricSpec,
    TopkAccuracy,
    build_accuracies,
    build_metrics,
    check_metrics,
)
from lookalike.evaluation.outcome import SetEvaluation
from lookalike.evaluation.verification import evaluate_pairs

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
    "training_labels",
    "with_labels_of_training",
]
