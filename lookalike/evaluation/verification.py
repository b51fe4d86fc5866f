"""The figures of verification (`eval_mode: adaface`): are two images of one identity?"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from lookalike.core.errors import UserError
from lookalike.core.log import logger
from lookalike.evaluation.feature_set import FeatureSet
from lookalike.evaluation.features import Encode, collect_features
from lookalike.evaluation.gather import broadcast_json, together
from lookalike.evaluation.loader import EvaluationLoader, LeftOut
from lookalike.evaluation.outcome import SetEvaluation
from lookalike.images.records import Pairs
from lookalike.retrieval import fold_accuracy, pair_distances, true_accept_rate

FALSE_ACCEPT_RATES = (0.01, 0.001)
"""What TAR is told at; lists of a few thousand pairs cannot tell finer rates apart."""

FOLDS = 10

_ABSENT = -1


def evaluate_pairs(
    encode: Encode,
    loader: EvaluationLoader,
    pairs: Mapping[str, Pairs],
    *,
    feature_from: str = "features",
) -> SetEvaluation:
    """Encode the images of verification sets and judge their pairs; every process gets the figures.

    The embedding of an image is that of itself plus that of its mirror image, scaled to length 1. Figures:
    `all_test_acc`, the mean over the sets, which decides which checkpoint is best; for each set
    `lfw_test_acc`, accuracy over ten folds, and `lfw_tar@far=0.01`, …; in `thresholds` the mean threshold of
    its folds.

    A pair with a broken image is left out and told. Raises UserError where a set has fewer than ten pairs, or
    only pairs of one kind, and for embeddings that are NaN.
    """
    start = time.perf_counter()

    def with_mirror_image(images: torch.Tensor) -> torch.Tensor:
        return _features(encode(images), feature_from) + _features(encode(images.flip(-1)), feature_from)

    found, _ = collect_features(with_mirror_image, loader, feature_normalize=True)
    outcome: dict[str, Any] = {}
    with together():
        if found is not None:
            outcome = _judge(found, pairs)
    outcome = broadcast_json(outcome)
    return SetEvaluation(
        metrics=outcome["metrics"],
        images=outcome["images"],
        broken=[LeftOut(*entry) for entry in outcome["broken"]],
        seconds=time.perf_counter() - start,
        pairs=outcome["pairs"],
        thresholds=outcome["thresholds"],
    )


def _features(outputs: Any, feature_from: str) -> torch.Tensor:
    chosen: torch.Tensor = outputs if isinstance(outputs, torch.Tensor) else outputs[feature_from]
    return chosen.float()


def _judge(found: FeatureSet, pairs: Mapping[str, Pairs]) -> dict[str, Any]:
    if not np.isfinite(found.features).all():
        raise UserError(
            "the model gives NaN or infinite features: its training has diverged or its weights are damaged"
        )
    images = 1 + max(int(max(each.left.max(), each.right.max())) for each in pairs.values())
    row_of = np.full(max(images, int(found.indices.max(initial=0)) + 1), _ABSENT)
    row_of[found.indices] = np.arange(len(found))
    accuracies: dict[str, float] = {}
    figures: dict[str, float] = {}
    thresholds: dict[str, float] = {}
    counts: dict[str, int] = {}
    for name, listed in pairs.items():
        left, right = row_of[listed.left], row_of[listed.right]
        whole = (left != _ABSENT) & (right != _ABSENT)
        if not whole.all():
            logger.warning("%s: %d pairs have a broken image and are left out", name, np.sum(~whole))
        same = listed.same[whole]
        try:
            distances = pair_distances(found.features[left[whole]], found.features[right[whole]])
            folds = fold_accuracy(distances, same, FOLDS)
            accuracies[f"{name}_test_acc"] = folds.accuracy
            for rate in FALSE_ACCEPT_RATES:
                figures[f"{name}_tar@far={rate:g}"] = true_accept_rate(distances, same, rate)
        except ValueError as error:
            raise UserError(f"verification set {name}: {error}") from error
        thresholds[name], counts[name] = folds.threshold, int(whole.sum())
    return {
        "metrics": {"all_test_acc": float(np.mean(list(accuracies.values()))), **accuracies, **figures},
        "thresholds": thresholds,
        "pairs": counts,
        "images": len(found),
        "broken": found.broken,
    }
