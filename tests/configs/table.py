"""The recognition configs of the reference, the recipe that each became, and what its pictures look like."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Third = Literal["camera", "image"]


@dataclass(frozen=True)
class Row:
    """A config of the reference, by its path below `ppcls/configs`, and the recipe that ships for it."""

    config: str
    recipe: str
    third_column: Third | None = None
    """What a third column of the lists says; None: they have two."""
    first_label: int = 0
    label_step: int = 1
    small: dict[str, Any] = field(default_factory=dict)
    """Keys of the recipe that a small run changes beside sizes and class counts."""
    exported: bool = False
    """Whether the small run exports as well: one config of each family of networks."""
    starts_from: str | None = None
    """The recipe whose trained weights this one begins with, where it trains nothing itself."""


_SMALL_PPLCNET = {"Arch.Backbone.name": "PPLCNet_x0_25"}
_SMALL_TWINS = {
    "Arch.models.0.Teacher.Backbone.name": "PPLCNet_x0_25",
    "Arch.models.1.Student.Backbone.name": "PPLCNet_x0_25",
}
_CIFAR = {"Arch.Backbone.depth": 10, "Arch.Backbone.widen_factor": 1, "Arch.Neck.num_features": 64,
          "Arch.Head.embedding_size": 64}  # fmt: skip

ROWS = [
    Row("Cartoonface/ResNet50_icartoon", "cartoon/icartoon", exported=True),
    Row("DeepHash/DCH", "hash/dch", exported=True),
    Row("DeepHash/DSHSD", "hash/dshsd"),
    Row("DeepHash/LCDSH", "hash/lcdsh"),
    Row("GeneralRecognition/GeneralRecognition_PPLCNet_x2_5", "general/pp_shitu_v1",
        small=_SMALL_PPLCNET, exported=True),
    Row("GeneralRecognition/GeneralRecognition_PPLCNet_x2_5_binary", "general/pp_shitu_v1_binary"),
    Row("GeneralRecognition/GeneralRecognition_PPLCNet_x2_5_dml", "distillation/pp_shitu_v1_dml",
        small=_SMALL_TWINS, exported=True),
    Row("GeneralRecognition/GeneralRecognition_PPLCNet_x2_5_udml", "distillation/pp_shitu_v1_udml",
        small=_SMALL_TWINS),
    Row("GeneralRecognition/Gallery2FC_PPLCNet_x2_5", "general/pp_shitu_v1_with_gallery_head",
        small=_SMALL_PPLCNET, starts_from="slim/pp_shitu_v1_quantization"),
    Row("GeneralRecognitionV2/GeneralRecognitionV2_PPLCNetV2_base", "general/pp_shitu_v2",
        label_step=3, exported=True),
    Row("GeneralRecognitionV2/GeneralRecognitionV2_CLIP_vit_base", "general/clip_vit_base", exported=True),
    Row("GeneralRecognitionV2/GeneralRecognitionV2_CLIP_vit_large", "general/clip_vit_large"),
    Row("Logo/ResNet50_ReID", "logo/logo3k", first_label=7, label_step=5),
    Row("Products/MV3_Large_1x_Aliproduct_DLBHC", "hash/aliproduct_dlbhc",
        small={"Arch.Backbone.name": "MobileNetV3_large_x0_35"}, exported=True),
    Row("Products/ResNet50_vd_Aliproduct", "product/aliproduct", exported=True),
    Row("Products/ResNet50_vd_Inshop", "product/inshop"),
    Row("Products/ResNet50_vd_SOP", "product/sop", third_column="image", first_label=1),
    Row("ResNet50_UReID_infer", "reid/market1501_ise"),
    Row("Vehicle/PPLCNet_2.5x_ReID", "vehicle/reid_pplcnet", third_column="camera", small=_SMALL_PPLCNET),
    Row("Vehicle/ResNet50", "vehicle/compcars", exported=True),
    Row("Vehicle/ResNet50_ReID", "vehicle/reid", third_column="camera"),
    Row("metric_learning/adaface_ir18", "metric_learning/adaface", exported=True),
    Row("metric_learning/xbm_resnet50", "metric_learning/xbm", third_column="image", first_label=1),
    Row("quick_start/MobileNetV1_retrieval", "quickstart/cub_mobilenetv1", third_column="image",
        first_label=1, exported=True,
        small={"Arch.Backbone.name": "MobileNetV1_x0_25", "Arch.Neck.embedding_size": 256}),
    Row("quick_start/professional/VGG19_CIFAR10_DeepHash", "hash/cifar10_vgg19", exported=True),
    Row("reid/strong_baseline/baseline", "reid/baseline"),
    Row("reid/strong_baseline/softmax_triplet", "reid/softmax_triplet"),
    Row("reid/strong_baseline/softmax_triplet_with_center", "reid/softmax_triplet_with_center"),
    Row("reid/MetaBIN_ResNet50_cross_domain", "reid/metabin_cross_domain", exported=True),
    Row("slim/GeneralRecognition_PPLCNet_x2_5_quantization", "slim/pp_shitu_v1_quantization",
        small=_SMALL_PPLCNET, exported=True),
    Row("slim/ResNet50_vehicle_cls_prune", "slim/vehicle_cls_prune", exported=True),
    Row("slim/ResNet50_vehicle_cls_quantization", "slim/vehicle_cls_quantization"),
    Row("slim/ResNet50_vehicle_reid_prune", "slim/vehicle_reid_prune", third_column="camera"),
    Row("slim/ResNet50_vehicle_reid_quantization", "slim/vehicle_reid_quantization", third_column="camera"),
    Row("ssl/CCSSL/FixMatchCCSSL_cifar10_4000_4gpu", "semi_supervised/cifar10_ccssl",
        small=_CIFAR, exported=True),
    Row("ssl/CCSSL/FixMatchCCSSL_cifar100_10000_4gpu", "semi_supervised/cifar100_ccssl", small=_CIFAR),
]  # fmt: skip
"""All of them, in the order of the reference's folders."""
