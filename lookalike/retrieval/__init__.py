"""Exact ranking in bounded memory and the figures of image retrieval.

Arrays in, numbers out: needs NumPy only, imports nothing of ours.
"""

from __future__ import annotations

from lookalike.retrieval.accumulators import (
    RetrievalHitRate,
    RetrievalMAP,
    RetrievalMRR,
    RetrievalNormalizedDCG,
    RetrievalPrecision,
    RetrievalRecall,
    RetrievalRPrecision,
)
from lookalike.retrieval.accuracy_calculator import AccuracyCalculator
from lookalike.retrieval.calibration import ClassThresholds, OperatingPoint, class_thresholds
from lookalike.retrieval.evaluate import DEFAULT_METRICS, Result, evaluate_retrieval
from lookalike.retrieval.expansion import augment_database, expand_queries
from lookalike.retrieval.functions import (
    mean_average_precision,
    mean_average_precision_at_r,
    mean_inverse_negative_penalty,
    mean_reciprocal_rank,
    normalized_discounted_gain,
    precision_at_k,
    r_precision,
    rank,
    recall_at_k,
    true_recall_at_k,
)
from lookalike.retrieval.metrics import METRICS, Metric, parse_metric
from lookalike.retrieval.open_set import OpenSetScores
from lookalike.retrieval.pairs import PairCounts
from lookalike.retrieval.ranking import Ranking, TopK
from lookalike.retrieval.rerank import RerankedSimilarities, rerank_distances
from lookalike.retrieval.summaries import (
    ClassMeans,
    bootstrap_interval,
    class_means,
    exact_where_all_agree,
)
from lookalike.retrieval.thresholds import detection_and_identification_rate, scores_needed, threshold_at
from lookalike.retrieval.verification import FoldAccuracy, fold_accuracy, pair_distances, true_accept_rate
from lookalike.retrieval.whitening import Whitening

__all__ = [
    "DEFAULT_METRICS",
    "METRICS",
    "AccuracyCalculator",
    "ClassMeans",
    "ClassThresholds",
    "FoldAccuracy",
    "Metric",
    "OpenSetScores",
    "OperatingPoint",
    "PairCounts",
    "Ranking",
    "RerankedSimilarities",
    "Result",
    "RetrievalHitRate",
    "RetrievalMAP",
    "RetrievalMRR",
    "RetrievalNormalizedDCG",
    "RetrievalPrecision",
    "RetrievalRPrecision",
    "RetrievalRecall",
    "TopK",
    "Whitening",
    "augment_database",
    "bootstrap_interval",
    "class_means",
    "class_thresholds",
    "detection_and_identification_rate",
    "evaluate_retrieval",
    "exact_where_all_agree",
    "expand_queries",
    "fold_accuracy",
    "mean_average_precision",
    "mean_average_precision_at_r",
    "mean_inverse_negative_penalty",
    "mean_reciprocal_rank",
    "normalized_discounted_gain",
    "pair_distances",
    "parse_metric",
    "precision_at_k",
    "r_precision",
    "rank",
    "recall_at_k",
    "rerank_distances",
    "scores_needed",
    "threshold_at",
    "true_accept_rate",
    "true_recall_at_k",
]
