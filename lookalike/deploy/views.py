"""The vectors of an Embedder as means over test-time views of each picture. NumPy only."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np

from lookalike.core.errors import UserError, line_of
from lookalike.deploy.embedder import Embedder
from lookalike.deploy.runtimes.runtime import Batch, Floats, GraphInput, Runtime
from lookalike.recipe.views import Views


class ViewsRuntime:
    """A runtime that gives the mean over several views of each picture (`encode_views`)."""

    def __init__(self, runtime: Runtime, views: Views, *, unit: bool) -> None:
        self.runtime, self.views, self.unit = runtime, views, unit
        self.reentrant: bool = getattr(runtime, "reentrant", False)
        self.precision: str = getattr(runtime, "precision", "fp32")

    def __call__(self, batch: Batch) -> Floats:
        return encode_views(self.runtime, batch, self.views, unit=self.unit)


def with_views(model: Embedder, views: Views, *, unit: bool) -> Embedder:
    """The model, with the mean over several views of a picture as its vector; codes are made of the mean.

    unit: sum unit vectors and scale the sum to length 1, for vectors that are compared by the cosine.

    It has a fingerprint of its own, since these are other vectors, and no thresholds, which were found
    without views. Raises UserError for other sizes than the one that a graph was exported for.
    """
    if views.plain:
        return model
    if views.resizes and not _takes_any_size(model):
        raise UserError(
            f"{model.name} takes pictures of one size only: {views} need the checkpoint that it was "
            "exported from (a mirror image alone has the same size)"
        )
    made = copy.copy(model)
    made.runtime, made.folder = ViewsRuntime(model.runtime, views, unit=unit), None
    made.fingerprint = f"{model.fingerprint}, {views}, {'unit vectors' if unit else 'as they are'}"
    return made


def encode_views(encode: Callable[[Batch], Floats], batch: Batch, views: Views, *, unit: bool) -> Floats:
    """The mean feature (N, D) of the views of each picture, as `lookalike.evaluation.views` has it.

    batch: (N, C, H, W) of float32, or of pixels, which are only mirrored, (N, H, W, 3) of uint8.

    With `unit` each feature is scaled to length 1, and the mean as well. Raises UserError, with the scale and
    the size, where the model cannot take pictures of another size.
    """
    total: Floats | None = None
    for scale in views.scales:
        view = _in_size(batch, views, scale)
        for given in (view, _mirrored(view)) if views.flip else (view,):
            made = encode(given) if view is batch else _encode_resized(encode, given, scale)
            feature = np.asarray(made, np.float32)
            feature = _unit(feature) if unit else feature
            total = feature if total is None else total + feature
    assert total is not None, "Views have at least one scale"
    mean = total / np.float32(len(views.scales) * (1 + views.flip))
    return _unit(mean) if unit else mean


def resize(pictures: Floats, height: int, width: int) -> Floats:
    """Bilinear, and antialiased where a picture gets smaller: (N, C, H, W) -> (N, C, height, width).

    The two directions are products with a matrix each.
    """
    rows, columns = _weights(pictures.shape[2], height), _weights(pictures.shape[3], width)
    return np.ascontiguousarray(rows @ pictures @ columns.T)


def _weights(given: int, wanted: int) -> Floats:
    """(wanted, given): how much each given pixel counts for each wanted one.

    A triangle around the place of the wanted pixel, as wide as a pixel of the coarser of the two grids on
    either side; rows sum to 1.
    """
    step = given / wanted
    centres = step * (np.arange(wanted) + 0.5)
    distances = np.abs(np.arange(given) + 0.5 - centres[:, None])
    weights = np.maximum(0, 1 - distances / max(step, 1))
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def _encode_resized(encode: Callable[[Batch], Floats], view: Batch, scale: float) -> Floats:
    try:
        return encode(view)
    # the ways in which position embeddings, windows and flattened maps refuse another size
    except (RuntimeError, ValueError, AssertionError) as error:
        reason = line_of(error)
        height, width = view.shape[2:]
        raise UserError(
            f"test-time scales: the model cannot take pictures of {height}x{width}, which the scale "
            f"{scale:g} makes ({reason}); leave the scales at 1 for it"
        ) from error


def _in_size(batch: Batch, views: Views, scale: float) -> Batch:
    if scale == 1:
        return batch
    return resize(batch, *views.size(scale, *batch.shape[2:]))


def _mirrored(batch: Batch) -> Batch:
    """Left and right exchanged."""
    return np.ascontiguousarray(np.flip(batch, axis=2 if batch.dtype == np.uint8 else 3))


def _unit(features: Floats) -> Floats:
    """x / max(|x|, 1e-12) for each row: a zero vector stays zero."""
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), np.float32(1e-12))


def _takes_any_size(model: Embedder) -> bool:
    """Whether height and width of the pictures are free: of a graph that says so, and of a checkpoint."""
    taken = getattr(model.runtime, "input", None)
    if not isinstance(taken, GraphInput):
        return model.folder is None
    return taken.kind == np.float32 and taken.shape[2:] == (None, None)
