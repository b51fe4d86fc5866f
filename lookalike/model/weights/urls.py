"""Where the published weights of the reference lie."""

from __future__ import annotations

from lookalike.core.component import Place
from lookalike.core.errors import UserError

_BASE = "https://paddle-imagenet-models-name.bj.bcebos.com/dygraph"

_IMAGENET = (
    *(f"PPLCNet_{scale}" for scale in ["x0_25", "x0_35", "x0_5", "x0_75", "x1_0", "x1_5", "x2_0", "x2_5"]),
    *(f"PPLCNetV2_{size}" for size in ("small", "base", "large")),
    *(f"ResNet{depth}" for depth in (18, 34, 50, 101, 152)),
    *(f"ResNet{depth}_vd" for depth in (18, 34, 50, 101, 152, 200)),
    *(f"MobileNetV1{scale}" for scale in ("", "_x0_25", "_x0_5", "_x0_75")),
    *(
        f"MobileNetV3_{size}_{scale}"
        for size in ("small", "large")
        for scale in ["x0_35", "x0_5", "x0_75", "x1_0", "x1_25"]
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

_RECOGNITION_FILES = {
    "general_PPLCNet_x2_5": "general_PPLCNet_x2_5_pretrained_v1.0",
    "general_PPLCNetV2_base": "PPShiTuV2/general_PPLCNetV2_base_pretrained_v1.0",
    "product_ResNet50_vd_Aliproduct": "product_ResNet50_vd_Aliproduct_v1.0_pretrained",
    "product_ResNet50_vd_Inshop": "product_ResNet50_vd_Inshop_pretrained_v1.0",
    "cartoon_rec_ResNet50_iCartoon": "cartoon_rec_ResNet50_iCartoon_v1.0_pretrained",
    "logo_rec_ResNet50_Logo3K": "logo_rec_ResNet50_Logo3K_v1.0_pretrained",
    "vehicle_cls_ResNet50_CompCars": "vehicle_cls_ResNet50_CompCars_v1.2_pretrained",
    "vehicle_reid_ResNet50_VERIWild": "vehicle_reid_ResNet50_VERIWild_v1.1_pretrained",
    "vehicle_reid_PPLCNet2.5x_VERIWild": "vehicle_reid_PPLCNet2.5x_VERIWild_v1.0_pretrained",
}
RECOGNITION_URLS = {
    name: f"{_BASE}/rec/models/pretrain/{file}.pdparams" for name, file in _RECOGNITION_FILES.items()
}
"""Whole recognition models that the reference publishes, by name."""


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
