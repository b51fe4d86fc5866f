"""Exact ranking in bounded memory and the figures of image retrieval.

Arrays in, numbers out: needs NumPy only, imports nothing of ours.
"""

from __future__ import annotations

from lookalike.retrieval.evaluate import DEFAULT_METRICS, Result, evaluate_retrieval
from lookalike.retrieval.metrics import METRICS, Metric, parse_metric
from lookalike.retrieval.pairs import PairCounts
from lookalike.retrieval.ranking import Ranking, TopK
from lookalike.retrieval.summaries import ClassMeans, bootstrap_interval, class_means
from lookalike.retrieval.verification import FoldAccuracy, fold_accuracy, pair_distances, true_accept_rate

__all__ = [
    "DEFAULT_METRICS",
    "METRICS",
    "ClassMeans",
    "FoldAccuracy",
    "Metric",
    "PairCounts",
    "Ranking",
    "Result",
    "TopK",
    "bootstrap_interval",
    "class_means",
    "evaluate_retrieval",
    "fold_accuracy",
    "pair_distances",
    "parse_metric",
    "true_accept_rate",
]
