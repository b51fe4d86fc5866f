"""Swin Transformers by the reference's names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from pydantic import Field
from torch import nn

from lookalike.core.registry import Swallowed
from lookalike.model.registries import backbones

Share = Annotated[float, Field(ge=0, lt=1)]
Size = int | tuple[int, int]

_SIZES = {
    "tiny": (96, (2, 2, 6, 2), (3, 6, 12, 24), 0.2),
    "small": (96, (2, 2, 18, 2), (3, 6, 12, 24), 0.3),
    "base": (128, (2, 2, 18, 2), (4, 8, 16, 32), 0.5),
    "large": (192, (2, 2, 18, 2), (6, 12, 24, 48), 0.1),
}
"""Width, blocks of each stage, heads of each stage, how often a block is left out in training."""

_SWALLOWED = {
    name: Swallowed("it changes how Paddle computes, not what")
    for name in ("use_fused_attn", "use_fused_linear", "use_checkpoint")
}


def _network(size: str, window: int, image: int) -> Callable[..., nn.Module]:
    width, depths, heads, usual_drop_path = _SIZES[size]

    def build(
        class_num: int = 1000,
        img_size: Size = image,
        drop_rate: Share = 0.0,
        attn_drop_rate: Share = 0.0,
        drop_path_rate: Share = usual_drop_path,
        reference_behaviour: bool = False,
    ) -> nn.Module:
        """Class scores (N, class_num).

        The reference shifts windows in the last stage too, where one window covers the whole map and the
        paper has nothing to shift (the published weights were trained without); so it is here with
        `reference_behaviour`.
        """
        # timm is imported when a network is built, not when a recipe is checked
        from lookalike.model.backbones.swin_network import SwinNetwork

        rates = (drop_rate, attn_drop_rate, drop_path_rate)
        return SwinNetwork(width, depths, heads, window, img_size, class_num, *rates, reference_behaviour)

    return build


def _solider(size: str) -> Callable[..., nn.Module]:
    width, depths, heads, usual_drop_path = _SIZES[size]

    def build(
        semantic_weight: Annotated[float, Field(le=1)] = 1.0,
        class_num: int = 1000,
        img_size: Size = 224,
        drop_rate: Share = 0.0,
        attn_drop_rate: Share = 0.0,
        drop_path_rate: Share = usual_drop_path,
    ) -> nn.Module:
        """Class scores (N, class_num) from features that say, by `semantic_weight` in 0..1, more of meaning
        or more of looks; a negative weight leaves its layers out. Windows are shifted in every stage, as in
        the training of the published weights.
        """
        from lookalike.model.backbones.swin_network import SwinNetwork

        rates = (drop_rate, attn_drop_rate, drop_path_rate)
        return SwinNetwork(
            width, depths, heads, 7, img_size, class_num, *rates, True, semantic_weight=semantic_weight
        )

    return build


for _size, _window, _image in (
    ("tiny", 7, 224),
    ("small", 7, 224),
    ("base", 7, 224),
    ("base", 12, 384),
    ("large", 7, 224),
    ("large", 12, 384),
):
    _name = f"SwinTransformer_{_size}_patch4_window{_window}_{_image}"
    backbones.register(_name, swallows=_SWALLOWED)(_network(_size, _window, _image))

for _size in ("tiny", "small", "base"):
    _name = f"SwinTransformer_{_size}_patch4_window7_224_SOLIDER"
    backbones.register(_name, swallows=_SWALLOWED)(_solider(_size))
