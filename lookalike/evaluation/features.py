"""Features of all images of a loader.

Encoded batch by batch, gathered over processes, in the order of the dataset.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, TypeVar

import numpy as np
import torch
import torch.nn.functional as F

from lookalike.core.errors import UserError
from lookalike.core.progress import track
from lookalike.evaluation.feature_set import FeatureSet
from lookalike.evaluation.gather import gather_json, gather_rows, together
from lookalike.evaluation.loader import EvaluationLoader, LeftOut, broken_images, class_names, image_paths
from lookalike.evaluation.loss import Loss, LossMeans
from lookalike.evaluation.views import Viewed, encode_views
from lookalike.recipe.views import Views

T = TypeVar("T")

Binarise = Literal["round", "sign"]
_ONE_VIEW = Views()

Encode = Callable[[torch.Tensor], "torch.Tensor | Mapping[str, torch.Tensor]"]
"""Images (N, C, H, W) as the loader gives them -> features (N, D), or a dict that holds them."""


def normalise(features: torch.Tensor) -> torch.Tensor:
    """x / max(|x|, 1e-12) for each row: a zero vector stays zero."""
    return F.normalize(features, p=2.0, dim=-1, eps=1e-12)


def binarise(features: torch.Tensor, how: Binarise) -> torch.Tensor:
    """Codes of features.

    `round`: 2·round(x) - 1 for x in [0, 1], halves to even; `sign`: sign(x), where 0 stays 0.
    """
    if how == "round":
        return torch.round(features) * 2 - 1
    if how == "sign":
        return torch.sign(features)
    raise UserError(f"Global.feature_binarize must be 'round' or 'sign', got {how!r}")


def collect_features(
    encode: Encode,
    loader: EvaluationLoader,
    *,
    feature_normalize: bool = True,
    feature_binarize: Binarise | None = None,
    feature_from: str = "features",
    views: Views = _ONE_VIEW,
    loss: Loss | None = None,
    description: str = "images",
) -> tuple[FeatureSet | None, dict[str, float]]:
    """Features of all images of a loader and the means of its losses, on rank 0; None and nothing elsewhere.

    views: of several, the feature is the mean, and the loss sees the first (`encode_views`).

    Every process encodes its share. Rank 0 sorts the rows by their place in the dataset and keeps one of
    each, so padding that fills up the last batches is cut and the result equals that of one process.
    """
    features, numbers, means = [], [], LossMeans()
    has_cameras = False

    def feature_of(outputs: torch.Tensor | Mapping[str, torch.Tensor]) -> torch.Tensor:
        feature = (outputs if isinstance(outputs, torch.Tensor) else _pick(outputs, feature_from)).float()
        return normalise(feature) if feature_normalize else feature

    def viewed(images: torch.Tensor) -> Viewed:
        return encode_views(encode, images, views, feature_of)

    with together(), torch.no_grad():
        for batch in track(loader, description, total=len(loader), unit="batches"):
            found = encode_filled(viewed, batch["image"], getattr(loader, "batch_size", None))
            encoded = found["features"]
            if loss is not None:
                means.add(loss, found["outputs"], batch["label"].to(encoded.device))
            if feature_normalize and views.several:
                encoded = normalise(encoded)
            if feature_binarize:
                encoded = binarise(encoded, feature_binarize)
            features.append(encoded.cpu())
            has_cameras = "camera" in batch
            cameras = batch["camera"] if has_cameras else torch.zeros_like(batch["label"])
            columns = [batch["index"], batch["label"], cameras]
            numbers.append(
                torch.stack([column.reshape(-1).to("cpu", torch.int64) for column in columns], dim=1)
            )
    rows = gather_rows(torch.cat(features) if features else torch.empty(0, 0))
    table = gather_rows(torch.cat(numbers) if numbers else torch.empty(0, 3, dtype=torch.int64))
    notes = gather_json({"cameras": has_cameras, "broken": broken_images(loader), "loss": means.state()})
    if rows is None or table is None or notes is None:
        return None, {}
    indices, keep = np.unique(table[:, 0].numpy(), return_index=True)
    labels, cameras_of = table[keep, 1].numpy(), table[keep, 2].numpy()
    paths = image_paths(loader)
    broken = list(dict.fromkeys(LeftOut(*entry) for note in notes for entry in note["broken"]))
    collected = FeatureSet(
        rows[keep].numpy(),
        labels,
        cameras_of if any(note["cameras"] for note in notes) else None,
        indices,
        None if paths is None else [paths[index] for index in indices],
        broken,
        class_names=class_names(loader),
    )
    return collected, LossMeans.merge(note["loss"] for note in notes)


def encode_filled(encode: Callable[[torch.Tensor], T], images: torch.Tensor, size: int | None) -> T:
    """Encode a batch in the size that all others have, whatever the last one of a process has.

    The last bits of a feature depend on the size of its batch, and that of the last one on how many processes
    share the work: filled up with copies of its first image, figures do not.
    """
    count = len(images)
    if size is None or not 0 < count < size:
        return encode(images)
    return _first(encode(torch.cat([images, images[:1].expand(size - count, *images.shape[1:])])), count)


def _first(outputs: T, count: int) -> T:
    """The first rows of an output, or of each output of a dict."""
    if isinstance(outputs, Mapping):
        return {name: _first(value, count) for name, value in outputs.items()}  # type: ignore[return-value]
    return outputs[:count]  # type: ignore[index,no-any-return]


def _pick(outputs: Mapping[str, torch.Tensor], feature_from: str) -> torch.Tensor:
    if feature_from not in outputs:
        given = ", ".join(outputs) or "nothing"
        raise UserError(f"Global.retrieval_feature_from is '{feature_from}', but the model gives: {given}")
    return outputs[feature_from]
