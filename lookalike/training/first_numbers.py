"""Where a loss of the first numbers of a feature asks for more of them than the model gives."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from lookalike.core.component import Component
from lookalike.loss.matryoshka import MatryoshkaLoss
from lookalike.model import Model, RecModel
from lookalike.model.heads import MarginHead


def check_sizes(model: Model, loss: nn.Module, image_shape: Sequence[int]) -> None:
    """Raise UserError, with its place, for `sizes` of a MatryoshkaLoss that a model does not give.

    image_shape: (C, H, W) of the pictures in training.
    """
    for term in loss.modules():
        if not isinstance(term, MatryoshkaLoss) or not isinstance(model, RecModel):
            continue
        place = (term.component or Component("MatryoshkaLoss")).place_of("sizes")
        if term.feature_from == "logits" and model.gives_logits:
            scored = model.head.sizes if isinstance(model.head, MarginHead) else []
            missing = [str(size) for size in term.sizes if size not in scored]
            if missing:
                raise place.error(
                    f"{', '.join(missing)}: the model gives no class scores of so many first numbers; write "
                    "the same 'sizes' at Arch.Head, an ArcMargin, CosMargin or CircleMargin"
                )
        elif term.feature_from in ("features", "backbone", "neck") and (
            term.feature_from in model.output_names()
        ):
            channels, height, wide = image_shape
            width = model.embedding_size((channels, height, wide), term.feature_from)
            if max(term.sizes) > width:
                raise place.error(
                    f"{max(term.sizes)} is more than the {width} numbers of '{term.feature_from}'"
                )
