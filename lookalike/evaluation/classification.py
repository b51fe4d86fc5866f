"""The figures of a classifier: the scores it gives to classes against the labels of a set."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from lookalike.core.errors import UserError
from lookalike.core.progress import track
from lookalike.evaluation.features import encode_filled
from lookalike.evaluation.gather import broadcast_json, gather_json, gather_rows, together
from lookalike.evaluation.loader import EvaluationLoader, LeftOut, broken_images
from lookalike.evaluation.loss import Loss, LossMeans
from lookalike.evaluation.metrics import TopkAccuracy, accuracy_keys
from lookalike.evaluation.outcome import SetEvaluation

Classify = Callable[[torch.Tensor], Mapping[str, Any]]
"""Images (N, C, H, W) -> the outputs of the model by name, those of several models one level deeper."""


def evaluate_classes(
    classify: Classify,
    loader: EvaluationLoader,
    metrics: Sequence[TopkAccuracy],
    *,
    class_of: Mapping[int, int] | None = None,
    loss: Loss | None = None,
) -> SetEvaluation:
    """Score every image of a set; every process gets the figures.

    The rank of an image's own class is 1 plus the number of other classes with a score at least as high, so
    that a tie counts against the model. class_of: the class of each label of the set, where they are not one
    and the same. loss: losses of (what classify gave, classes).

    Under torch.distributed each process scores its share; figures equal those of one process exactly, since
    padding that fills up the last batches is cut. Raises UserError for an empty set, a class that the model
    has no score for, and scores that are NaN.
    """
    start = time.perf_counter()
    means, tables = LossMeans(), []
    with together(), torch.no_grad():
        for batch in track(loader, "images", total=len(loader), unit="batches"):
            outputs = encode_filled(classify, batch["image"], getattr(loader, "batch_size", None))
            classes = _classes(batch["label"].reshape(-1).long().cpu(), class_of)
            if loss is not None:
                means.add(loss, outputs, classes)
            ranks = [_ranks(_scores(outputs, metric), classes) for metric in metrics]
            tables.append(torch.stack([batch["index"].reshape(-1).to("cpu", torch.int64), *ranks], dim=1))
    width = len(metrics) + 1
    table = gather_rows(torch.cat(tables) if tables else torch.empty(0, width, dtype=torch.int64))
    notes = gather_json({"broken": broken_images(loader), "loss": means.state()})
    found: dict[str, Any] = {}
    with together():
        if table is not None and notes is not None:
            broken = list(dict.fromkeys(LeftOut(*entry) for note in notes for entry in note["broken"]))
            if not len(table):
                told = f": all {len(broken)} images are broken, the first: {broken[0]}" if broken else ""
                raise UserError(f"the set of the evaluation is empty{told}")
            _, kept = np.unique(table[:, 0].numpy(), return_index=True)
            figures = {
                key: float((column <= k).mean())
                for column, keys in zip(table[kept, 1:].numpy().T, accuracy_keys(metrics), strict=True)
                for k, key in keys.items()
            }
            losses = LossMeans.merge(note["loss"] for note in notes) if loss is not None else {}
            found = {"metrics": figures, "images": len(kept), "broken": broken, "losses": losses}
    found = broadcast_json(found)
    return SetEvaluation(
        metrics=found["metrics"],
        images=found["images"],
        broken=[LeftOut(*entry) for entry in found["broken"]],
        seconds=time.perf_counter() - start,
        losses=found["losses"],
    )


def _classes(labels: torch.Tensor, class_of: Mapping[int, int] | None) -> torch.Tensor:
    if class_of is None:
        return labels
    return torch.tensor([class_of[label] for label in labels.tolist()], dtype=torch.int64)


def _scores(outputs: Mapping[str, Any], metric: TopkAccuracy) -> torch.Tensor:
    """(N, C) float32 on the CPU, from where the metric says."""
    found: Any = outputs
    for key in metric.outputs:
        if not isinstance(found, Mapping) or key not in found:
            given = ", ".join(map(str, found)) if isinstance(found, Mapping) else "one output"
            hint = ""
            if key == "logits":
                hint = ": accuracy needs class scores, so a model with a head (Arch.Head)"
                if isinstance(found, Mapping) and any(isinstance(each, Mapping) for each in found.values()):
                    hint = ": of several models, name one with DistillationTopkAcc: {model_key: …}"
            raise UserError(f"the model gives no '{key}' (it gives: {given}){hint}")
        found = found[key]
    if not isinstance(found, torch.Tensor):
        raise UserError(
            f"'{'.'.join(metric.outputs)}' holds the outputs {', '.join(found)}: name one with feature_key"
        )
    return found.detach().float().flatten(1).cpu()


def _ranks(scores: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Rank of each own class among the scores of its image, from 1; (N,)."""
    if torch.isnan(scores).any():
        raise UserError(
            "the model gives NaN for class scores: its training has diverged or its weights are damaged"
        )
    highest = int(classes.max()) if len(classes) else 0
    if highest >= scores.shape[1]:
        raise UserError(
            f"an image of the evaluation has label {highest}, but the model scores {scores.shape[1]} classes"
        )
    own = scores.gather(1, classes[:, None])
    return (scores >= own).sum(dim=1)
