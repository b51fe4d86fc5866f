"""An `encode` callable and labelled images in, figures out.

Gathering over processes, label and camera rules.
"""

from __future__ import annotations

from lookalike.evaluation.evaluation import Evaluation, evaluate
from lookalike.evaluation.features import FeatureSet, binarise, collect_features, normalise
from lookalike.evaluation.loss import training_labels, with_labels_of_training
from lookalike.evaluation.metrics import MetricSpec, build_metrics

__all__ = [
    "Evaluation",
    "FeatureSet",
    "MetricSpec",
    "binarise",
    "build_metrics",
    "collect_features",
    "evaluate",
    "normalise",
    "training_labels",
    "with_labels_of_training",
]
