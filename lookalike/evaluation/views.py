"""The feature of a picture as the mean over test-time views of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypedDict

import torch
import torch.nn.functional as F

from lookalike.core.errors import UserError, line_of
from lookalike.recipe.views import Views


class Viewed(TypedDict):
    """What the first view gave, unchanged, and the mean feature (N, D) of all."""

    outputs: Any
    features: torch.Tensor


def encode_views(
    encode: Callable[[torch.Tensor], Any],
    images: torch.Tensor,
    views: Views,
    feature_of: Callable[[Any], torch.Tensor],
) -> Viewed:
    """Encode every view of a batch and average the features.

        f(x) = 1/V · Σ_v feature_of(encode(view_v(x)))

    images: (N, C, H, W). encode: images to outputs; `feature_of` takes (N, D) out of these. A view is the
    picture in size (round(s·H), round(s·W)), bilinear and antialiased, for each scale s; and that mirrored
    left to right.

    Where features are compared by the cosine, `feature_of` scales each to length 1, and whoever compares the
    mean scales that again: the sum of unit vectors. Lengths say nothing there, and a longer feature would
    count for more. Where the inner product of features as they are counts (`Global.feature_normalize:
    False`), their length is part of what was trained, and the mean is a plain one.

    Sources: several scales: Gordo et al. 2017 (https://arxiv.org/abs/1610.07940), Radenović et al. 2018
    (https://arxiv.org/abs/1711.02512), whose generalised mean over scales is this one for p = 1; the mirror
    image: Luo et al. 2019 (https://arxiv.org/abs/1903.07071) and others for persons; for faces it is added in
    the same way (`eval_mode: adaface`). The reference has it for faces only.

    Raises UserError, with the scale and the size, where the model cannot take pictures of another size.
    """
    outputs, total = None, None
    for scale in views.scales:
        resized = _resized(images, views, scale)
        for view in (resized, resized.flip(-1)) if views.flip else (resized,):
            given = encode(view) if resized is images else _encode_resized(encode, view, scale)
            feature = feature_of(given)
            outputs, total = (given, feature) if total is None else (outputs, total + feature)
    assert total is not None, "Views have at least one scale"
    return {"outputs": outputs, "features": total / (len(views.scales) * (1 + views.flip))}


def _resized(images: torch.Tensor, views: Views, scale: float) -> torch.Tensor:
    """The pictures in another size; the very same where the size is theirs."""
    if scale == 1:
        return images
    height, width = images.shape[-2:]
    size = views.size(scale, height, width)
    if size == (height, width):
        return images
    images = images if images.is_floating_point() else images.float()
    return F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)


def _encode_resized(encode: Callable[[torch.Tensor], Any], view: torch.Tensor, scale: float) -> Any:
    try:
        return encode(view)
    except torch.OutOfMemoryError:
        raise
    # the ways in which position embeddings, windows and flattened maps refuse another size
    except (UserError, RuntimeError, ValueError, AssertionError) as error:
        reason = line_of(error)
        height, width = view.shape[-2:]
        raise UserError(
            f"Global.test_time_scales: the model cannot take pictures of {height}x{width}, which the scale "
            f"{scale:g} makes ({reason}); leave the scales at [1.0] for it"
        ) from error
