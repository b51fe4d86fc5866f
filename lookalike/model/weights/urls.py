"""Where the published weights of the reference lie."""

from __future__ import annotations

from lookalike.core.component import Place
from lookalike.core.errors import UserError

_BASE = "https://paddle-imagenet-models-name.bj.bcebos.com/dygraph"

_IMAGENET = (
    *(f"PPLCNet_{scale}" for scale in "x0_25 x0_35 x0_5 x0_75 x1_0 x1_5 x2_0 x2_5".split()),
    *(f"PPLCNetV2_{size}" for size in ("small", "base", "large")),
    *(f"ResNet{depth}" for depth in (18, 34, 50, 101, 152)),
    *(f"ResNet{depth}_vd" for depth in (18, 34, 50, 101, 152, 200)),
    *(f"MobileNetV1{scale}" for scale in ("", "_x0_25", "_x0_5", "_x0_75")),
    *(
        f"MobileNetV3_{size}_{scale}"
        for size in ("small", "large")
        for scale in "x0_35 x0_5 x0_75 x1_0 x1_25".split()
    ),
)
IMAGENET_URLS = {name: f"{_BASE}/legendary_models/{name}_pretrained.pdparams" for name in _IMAGENET}
"""Classifiers trained on ImageNet, by the name of the backbone."""

_SAME_WEIGHTS = {
    "PPLCNet_x2_5_Tanh": "PPLCNet_x2_5",
    "PPLCNetV2_base_ShiTu": "PPLCNetV2_base",
    "ResNet50_last_stage_stride1": "ResNet50",
    "ResNet50_adaptive_max_pool2d": "ResNet50",
}

_RECOGNITION = f"{_BASE}/rec/models/pretrain"
RECOGNITION_URLS = {
    "general_PPLCNet_x2_5": f"{_RECOGNITION}/general_PPLCNet_x2_5_pretrained_v1.0.pdparams",
    "general_PPLCNetV2_base": f"{_RECOGNITION}/PPShiTuV2/general_PPLCNetV2_base_pretrained_v1.0.pdparams",
    "product_ResNet50_vd_Aliproduct": f"{_RECOGNITION}/product_ResNet50_vd_Aliproduct_v1.0_pretrained.pdparams",
    "product_ResNet50_vd_Inshop": f"{_RECOGNITION}/product_ResNet50_vd_Inshop_pretrained_v1.0.pdparams",
    "cartoon_rec_ResNet50_iCartoon": f"{_RECOGNITION}/cartoon_rec_ResNet50_iCartoon_v1.0_pretrained.pdparams",
    "logo_rec_ResNet50_Logo3K": f"{_RECOGNITION}/logo_rec_ResNet50_Logo3K_v1.0_pretrained.pdparams",
    "vehicle_cls_ResNet50_CompCars": f"{_RECOGNITION}/vehicle_cls_ResNet50_CompCars_v1.2_pretrained.pdparams",
    "vehicle_reid_ResNet50_VERIWild": f"{_RECOGNITION}/vehicle_reid_ResNet50_VERIWild_v1.1_pretrained.pdparams",
    "vehicle_reid_PPLCNet2.5x_VERIWild": f"{_RECOGNITION}/vehicle_reid_PPLCNet2.5x_VERIWild_v1.0_pretrained.pdparams",
    "resnet50-19c8e357_torch2paddle": f"{_BASE}/others/resnet50-19c8e357_torch2paddle.pdparams",
}
"""Whole recognition models and converted backbones that recipes of the reference start from."""


def pretrained_url(
    name: str, ssld: bool = False, ssld_stage1: bool = False, place: Place | None = None
) -> str:
    """Address of the ImageNet weights of a backbone.

    `ssld` asks for those distilled from a larger network. Raises UserError where none are published.
    """
    url = IMAGENET_URLS.get(_SAME_WEIGHTS.get(name, name))
    if url is None:
        raise (place or Place()).error(
            f"no pretrained weights are published for {name}: give a path or a URL as 'pretrained', or false"
        )
    if ssld_stage1 and not ssld:
        raise UserError(f"{place or name}: use_ssld_stage1_pretrained needs use_ssld: true")
    if ssld:
        url = url.replace("_pretrained", "_ssld_pretrained")
    if ssld_stage1:
        url = url.replace("ssld_pretrained", "ssld_stage1_pretrained")
    return url
