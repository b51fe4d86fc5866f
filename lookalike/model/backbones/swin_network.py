"""Swin Transformer as a chain with the reference's layer names, made of timm's blocks.

Source: https://arxiv.org/abs/2103.14030. SOLIDER: https://arxiv.org/abs/2303.17602.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from timm.models.swin_transformer import SwinTransformer
from torch import Tensor, nn

from lookalike.model.layers import start_linear


class GlobalMean(nn.Module):
    """Mean over height and width: (N, H, W, C) → (N, C)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(1, 2))


class UnfoldedPatchMerging(nn.Module):
    """2x2 patches → layer norm → linear, (N, H, W, C) → (N, H/2, W/2, 2C).

    The 4C numbers of a patch are ordered channel by channel, where timm's and the paper's code order them
    place by place: the weights of SOLIDER were trained so. Odd sides are padded with zeros.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * channels)
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[1:3]
        x = F.pad(x, (0, 0, 0, width % 2, 0, height % 2))
        patches = F.unfold(x.permute(0, 3, 1, 2), kernel_size=2, stride=2).transpose(1, 2)
        merged: Tensor = self.reduction(self.norm(patches))
        return merged.reshape(x.shape[0], (height + 1) // 2, (width + 1) // 2, merged.shape[2])


class SemanticScale(nn.Module):
    """x * softplus(W s) + V s with s = (w, 1 - w): how much the features say of meaning rather than of looks.

    w is the `semantic_weight` of SOLIDER, in 0..1.
    """

    s: Tensor

    def __init__(self, channels: int, semantic_weight: float) -> None:
        super().__init__()
        self.scale = nn.Linear(2, channels)
        self.shift = nn.Linear(2, channels)
        for linear in (self.scale, self.shift):
            nn.init.trunc_normal_(linear.weight, std=0.02)
            nn.init.zeros_(linear.bias)
        self.register_buffer("s", torch.tensor([semantic_weight, 1 - semantic_weight]), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        shifted: Tensor = x * F.softplus(self.scale(self.s)) + self.shift(self.s)
        return shifted


class SwinNetwork(nn.Sequential):
    """patch_embed → layers → norm → avgpool → head. (N, 3, H, W) → (N, class_num), for any H and W.

    A stage is its blocks and then the merging of patches, as in the reference; in timm the merging begins
    the next stage. `always_partition` shifts windows where one covers the whole map too. With
    `semantic_weight` (SOLIDER) the merging is `UnfoldedPatchMerging`, and where the weight is not negative a
    `SemanticScale` follows it.
    """

    def __init__(
        self,
        width: int,
        depths: Sequence[int],
        heads: Sequence[int],
        window_size: int,
        image_size: int | tuple[int, int],
        class_num: int,
        drop_rate: float,
        attn_drop_rate: float,
        drop_path_rate: float,
        always_partition: bool = False,
        semantic_weight: float | None = None,
    ) -> None:
        network = SwinTransformer(
            img_size=image_size,
            embed_dim=width,
            depths=tuple(depths),
            num_heads=tuple(heads),
            window_size=window_size,
            num_classes=0,
            proj_drop_rate=drop_rate,
            attn_drop_rate=attn_drop_rate,
            drop_path_rate=drop_path_rate,
            strict_img_size=False,
            always_partition=always_partition,
        )
        stages: list[Any] = list(network.layers)
        solider = semantic_weight is not None
        layers = []
        for index, stage in enumerate(stages):
            parts = OrderedDict[str, nn.Module](blocks=stage.blocks)
            if index + 1 < len(stages):
                channels = width * 2**index
                parts["downsample"] = (
                    UnfoldedPatchMerging(channels) if solider else stages[index + 1].downsample
                )
                if semantic_weight is not None and semantic_weight >= 0:
                    parts["semantic"] = SemanticScale(2 * channels, semantic_weight)
            layers.append(nn.Sequential(parts))
        head = start_linear(nn.Linear(network.num_features, class_num)) if class_num else nn.Identity()
        super().__init__(
            OrderedDict[str, nn.Module](
                patch_embed=network.patch_embed,
                pos_drop=nn.Dropout(drop_rate),
                layers=nn.Sequential(*layers),
                **{"norm3" if solider else "norm": network.norm},
                avgpool=GlobalMean(),
                head=head,
            )
        )
        indices = [f"layers.{stage}.blocks.{block}" for stage, n in enumerate(depths) for block in range(n)]
        self.idle_in_reference = [f"{block}.attn.relative_position_index" for block in indices]
        self.obsolete_in_reference = [f"{block}.attn_mask" for block in indices]
        self.reference_keys: Callable[[str], str] = str
        if semantic_weight is not None:
            self.reference_keys = _solider_key
            self.idle_in_reference += [
                f"{norm}.{kind}"
                for norm in ("norm", "norm0", "norm1", "norm2")
                for kind in ("weight", "bias")
            ]
            if semantic_weight >= 0:
                # those of the last stage scale what nobody reads
                self.idle_in_reference += [
                    f"semantic_embed_{part}.3.{kind}" for part in "wb" for kind in ("weight", "bias")
                ]


def _solider_key(key: str) -> str:
    """`layers.0.semantic.scale.weight` → `semantic_embed_w.0.weight`."""
    parts = key.split(".")
    if parts[0] == "layers" and parts[2] == "semantic":
        return f"semantic_embed_{'w' if parts[3] == 'scale' else 'b'}.{parts[1]}.{parts[4]}"
    return key
