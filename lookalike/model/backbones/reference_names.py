"""Networks of the reference's zoo that timm has under another name. Data only.

`REFERENCE_NAMES` says which network of timm, with which arguments, a name of the reference means. `keys`
names the rules by which the weights in the reference's files are called (`reference_keys.py`); without it
files of the reference do not load. `difference` says in what timm's network is not quite the reference's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class TimmTwin:
    """A network of timm that a name of the reference means."""

    timm_name: str
    keys: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    difference: str = ""


def _family(
    names: Mapping[str, str], keys: str | None = None, difference: str = "", **arguments: Any
) -> dict[str, TimmTwin]:
    return {name: TimmTwin(timm_name, keys, arguments, difference) for name, timm_name in names.items()}


def _deeper(layers: tuple[int, ...], cardinality: int, **more: Any) -> dict[str, Any]:
    return {"layers": layers, "cardinality": cardinality, "base_width": 4, **more}


_DEPTHS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
_DEEP_STEM: dict[str, Any] = {"stem_type": "deep", "stem_width": 32, "avg_down": True}

_RESNEXT = {
    f"ResNeXt{depth}{vd}_{groups}x4d": TimmTwin(
        "resnext50_32x4d",
        "resnext_vd" if vd else "resnext",
        _deeper(_DEPTHS[depth], groups, **(_DEEP_STEM if vd else {})),
    )
    for depth in _DEPTHS
    for groups in (32, 64)
    for vd in ("", "_vd")
} | {
    "SE_ResNeXt50_32x4d": TimmTwin("seresnext50_32x4d", "resnext"),
    "SE_ResNeXt101_32x4d": TimmTwin("seresnext101_32x4d", "resnext"),
    "SE_ResNeXt50_vd_32x4d": TimmTwin("seresnext50_32x4d", None, _DEEP_STEM),
    **_family(
        {
            "ResNeXt101_32x8d_wsl": "resnext101_32x8d",
            "ResNeXt101_32x16d_wsl": "resnext101_32x16d",
            "ResNeXt101_32x32d_wsl": "resnext101_32x32d",
        }
    ),
    "ResNeXt101_32x48d_wsl": TimmTwin("resnext101_32x8d", None, {"base_width": 48}),
    "ResNet50_vc": TimmTwin("resnet50", None, {"stem_type": "deep", "stem_width": 32}),
}

_DENSENET = _family(
    {f"DenseNet{depth}": f"densenet{depth}" for depth in (121, 161, 169, 201)}, "densenet"
) | {"DenseNet264": TimmTwin("densenet121", "densenet", {"block_config": (6, 12, 64, 48)})}

_RES2NET = _family(
    {"Res2Net50_26w_4s": "res2net50_26w_4s", "Res2Net50_14w_8s": "res2net50_14w_8s"}, "res2net"
) | _family({"Res2Net50_vd_26w_4s": "res2net50d", "Res2Net101_vd_26w_4s": "res2net101d"})

_PLAIN_VIT = _family(
    {
        f"ViT_{name}": f"vit_{name}"
        for name in (
            "base_patch16_224",
            "base_patch16_384",
            "base_patch32_384",
            "large_patch16_224",
            "large_patch16_384",
            "large_patch32_384",
        )
    }
    | {
        f"DeiT_{name}": f"deit_{name}"
        for name in (
            "tiny_patch16_224",
            "small_patch16_224",
            "base_patch16_224",
            "base_patch16_384",
            "tiny_distilled_patch16_224",
            "small_distilled_patch16_224",
            "base_distilled_patch16_224",
            "base_distilled_patch16_384",
        )
    },
    "same",
)

_CONVNEXT = _family(
    {
        "ConvNeXt_tiny": "convnext_tiny",
        "ConvNeXt_small": "convnext_small",
        "ConvNeXt_base_224": "convnext_base",
        "ConvNeXt_base_384": "convnext_base",
        "ConvNeXt_large_224": "convnext_large",
        "ConvNeXt_large_384": "convnext_large",
    },
    "convnext",
)

_PYRAMIDS = _family(
    {f"PVT_V2_B{size}": f"pvt_v2_b{size}" for size in range(6)} | {"PVT_V2_B2_Linear": "pvt_v2_b2_li"},
    "pvt_v2",
) | _family(
    {f"alt_gvt_{size}": f"twins_svt_{size}" for size in ("small", "base", "large")}
    | {f"pcpvt_{size}": f"twins_pcpvt_{size}" for size in ("small", "base", "large")},
    "same",
)

_EFFICIENTNET = _family(
    {f"EfficientNetB{size}": f"tf_efficientnet_b{size}" for size in range(8)}, "efficientnet"
) | _family({f"EfficientNetV2_{size}": f"tf_efficientnetv2_{size.lower()}" for size in ("S", "M", "L", "XL")})

_REPVGG = _family(
    {
        f"RepVGG_{size}": f"repvgg_{size.lower()}"
        for size in ("A0", "A1", "A2", "B0", "B1", "B2", "B3", "B1g4", "B2g4", "B3g4")
    },
    "repvgg",
) | _family({"RepVGG_D2se": "repvgg_d2se"})

_HGNET = _family({f"PPHGNetV2_B{size}": f"hgnetv2_b{size}" for size in range(7)}, "hgnet_v2") | _family(
    {f"PPHGNet_{size}": f"hgnet_{size}" for size in ("tiny", "small", "base")}
)

_SWIN_V2 = _family(
    {
        f"SwinTransformerV2_{size}_patch4_window{window}_{image}": f"swinv2_{size}_window{window}_{image}"
        for size, window, image in (
            ("tiny", 8, 256),
            ("tiny", 16, 256),
            ("small", 8, 256),
            ("small", 16, 256),
            ("base", 8, 256),
            ("base", 16, 256),
        )
    }
    | {
        "SwinTransformerV2_base_patch4_window24_384": "swinv2_base_window12to24_192to384",
        "SwinTransformerV2_large_patch4_window16_256": "swinv2_large_window12to16_192to256",
        "SwinTransformerV2_large_patch4_window24_384": "swinv2_large_window12to24_192to384",
    }
)

_HRNET = _family(
    {f"HRNet_W{width}_C": f"hrnet_w{width}" for width in (18, 30, 32, 40, 44, 48, 64)},
    head_conv_bias=False,
)

_SIMPLE = _family(
    {
        f"DLA{size}": f"dla{size}"
        for size in ("34", "46_c", "46x_c", "60", "60x", "60x_c", "102", "102x", "102x2", "169")
    }
    | {f"StarNet_S{size}": f"starnet_s{size}" for size in range(1, 5)},
    "same",
) | _family(
    {f"FasterNet_{size}": f"fasternet_{size.lower()}" for size in ("T0", "T1", "T2", "S", "M", "L")},
    "fasternet",
)

_BUILT_ONLY = (
    _family(
        {
            **{f"DPN{size}": f"dpn{size}" for size in (68, 92, 98, 107, 131)},
            **{f"MixNet_{size}": f"mixnet_{size.lower()}" for size in ("S", "M", "L")},
            **{
                f"ReXNet_{major}_{minor}": f"rexnet_{major}{minor}0"
                for major, minor in ((1, 0), (1, 3), (1, 5), (2, 0), (3, 0))
            },
            **{f"LeViT_{size}": f"levit_{size.lower()}" for size in ("128S", "128", "192", "256", "384")},
            **{f"TinyNet_{size}": f"tinynet_{size.lower()}" for size in "ABCDE"},
            **{f"MobileViT_{size}": f"mobilevit_{size.lower()}" for size in ("XXS", "XS", "S")},
            **{
                f"MobileViTV2_x{major}_{minor}": f"mobilevitv2_{major}{minor}0"
                for major, minor in ((0, 5), (1, 0), (1, 5), (2, 0))
            },
            **{
                f"NextViT_{size}_{image}": f"nextvit_{size}"
                for size in ("small", "base", "large")
                for image in (224, 384)
            },
            **{
                f"MobileNetV4_{size}": f"mobilenetv4_{size}"
                for size in ("conv_small", "conv_medium", "conv_large", "hybrid_medium", "hybrid_large")
            },
            "ResNeSt50": "resnest50d",
            "ResNeSt101": "resnest101e",
            "ResNeSt200": "resnest200e",
            "ResNeSt269": "resnest269e",
            "InceptionV3": "inception_v3",
            "InceptionV4": "inception_v4",
            "CSPDarkNet53": "cspdarknet53",
            "TNT_small": "tnt_s_legacy_patch16_224",
            "TNT_base": "tnt_b_patch16_224",
        }
    )
    | _family(
        {
            f"RegNetX_{ours}": f"regnetx_{theirs}"
            for ours, theirs in (
                ("200MF", "002"),
                ("400MF", "004"),
                ("600MF", "006"),
                ("800MF", "008"),
                ("1600MF", "016"),
                ("3200MF", "032"),
                ("4GF", "040"),
                ("6400MF", "064"),
                ("8GF", "080"),
                ("12GF", "120"),
                ("16GF", "160"),
                ("32GF", "320"),
            )
        },
        difference="the reference's convolutions have biases before their batch norms",
    )
    | _family(
        {
            f"GhostNet_x{major}_{minor}": f"ghostnet_{major}{minor}0"
            for major, minor in ((0, 5), (1, 0), (1, 3))
        },
        difference="the reference has a batch norm behind the last 1x1 convolution, timm a bias",
    )
)

REFERENCE_NAMES: Mapping[str, TimmTwin] = {
    **_RESNEXT,
    **_DENSENET,
    **_RES2NET,
    **_PLAIN_VIT,
    **_CONVNEXT,
    **_PYRAMIDS,
    **_EFFICIENTNET,
    **_REPVGG,
    **_HGNET,
    **_SWIN_V2,
    **_HRNET,
    **_SIMPLE,
    **_BUILT_ONLY,
}
