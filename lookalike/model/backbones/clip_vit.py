"""The image half of CLIP by the reference's names, on timm's vision transformer.

Source: https://arxiv.org/abs/2103.00020.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field
from torch import Tensor, nn

from lookalike.core.registry import Swallowed
from lookalike.model.registries import backbones
from lookalike.model.stop_layers import WHOLE_NETWORK

Share = Annotated[float, Field(ge=0, lt=1)]

_SWALLOWED = {
    name: Swallowed("it changes how Paddle computes, not what")
    for name in ("use_fused_attn", "use_fused_linear")
}


def _reference_key(key: str, head: str) -> str:
    """`norm_pre` is `ln_pre` there; `head` says what the last linear layer is called."""
    for ours, theirs in (("norm_pre.", "ln_pre."), ("head.", head)):
        if key.startswith(ours):
            return theirs + key.removeprefix(ours)
    return key


class _PatchTokens(nn.Module):
    """The tokens behind the class token: (N, 1 + L, D) → (N, L, D)."""

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens[:, 1:]


def _clip(timm_name: str, image: int) -> Callable[..., nn.Module]:
    def build(
        return_embed: bool = False,
        return_mean_embed: bool = False,
        class_num: int = 1000,
        output_dim: int = 512,
        drop_rate: Share = 0.0,
        attn_drop_rate: Share = 0.0,
        drop_path_rate: Share = 0.0,
        reference_behaviour: bool = False,
    ) -> nn.Module:
        """With `return_embed` the projected patch tokens (N, L, output_dim), with `return_mean_embed` too
        their mean (N, output_dim). Else class scores (N, class_num) from the class token.

        The reference computes the exact GELU, where CLIP was trained with x * sigmoid(1.702 x); so it is here
        with `reference_behaviour`, which weights that the reference fine-tuned need. It has 512 outputs for
        the large network too, although CLIP's own has 768: weights with 768 need `output_dim: 768`.
        """
        import timm

        more: dict[str, Any] = {"act_layer": "gelu"} if reference_behaviour else {}
        network: Any = timm.create_model(
            timm_name,
            img_size=image,
            num_classes=class_num,
            global_pool="token" if not return_embed else "avg" if return_mean_embed else "",
            fc_norm=False,
            pos_drop_rate=drop_rate,
            proj_drop_rate=drop_rate,
            attn_drop_rate=attn_drop_rate,
            drop_path_rate=drop_path_rate,
            **more,
        )
        if return_embed:
            network.head = nn.Linear(network.num_features, output_dim, bias=False)
            nn.init.normal_(network.head.weight, std=network.num_features**-0.5)
            network.fc_norm = nn.Identity() if return_mean_embed else _PatchTokens()
            network.reference_keys = _token_projection_key
        else:
            network.reference_keys = _classifier_key
            network.idle_in_reference = ["proj"]
        # recipes of the reference stop it at 'flatten', a layer that it does not have there either
        network.stop_layer_aliases = {"flatten": WHOLE_NETWORK}
        network.image_shape = (3, image, image)
        return network  # type: ignore[no-any-return]

    return build


def _token_projection_key(key: str) -> str:
    return "proj" if key == "head.weight" else _reference_key(key, "head.")


def _classifier_key(key: str) -> str:
    return _reference_key(key, "head.fc_head.")


for _name, _timm_name, _image in (
    ("CLIP_vit_base_patch16_224", "vit_base_patch16_clip_quickgelu_224", 224),
    ("CLIP_vit_base_patch32_224", "vit_base_patch32_clip_quickgelu_224", 224),
    ("CLIP_vit_large_patch14_224", "vit_large_patch14_clip_quickgelu_224", 224),
    ("CLIP_vit_large_patch14_336", "vit_large_patch14_clip_quickgelu_336", 336),
):
    backbones.register(_name, swallows=_SWALLOWED)(_clip(_timm_name, _image))
