"""The Arch blocks of the reference's recipes, written down again, and their models with generated weights."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from lookalike.model import (
    DISTILLATION,
    Model,
    backbones,
    build_model,
    from_reference_state,
    heads,
    necks,
    to_reference_key,
)
from lookalike.model.weights.reference_layout import idle_keys
from tests.golden import golden


def fc(embedding_size: int, class_num: int, **more: Any) -> dict[str, Any]:
    return {"name": "FC", "embedding_size": embedding_size, "class_num": class_num, **more}


def margin(kind: str, embedding_size: int, class_num: int, m: float, s: float) -> dict[str, Any]:
    return {"name": kind, "embedding_size": embedding_size, "class_num": class_num, "margin": m, "scale": s}


def arch(backbone: dict[str, Any], stop: str | None, neck: Any = None, head: Any = None) -> dict[str, Any]:
    block: dict[str, Any] = {"name": "RecModel", "infer_output_key": "features", "infer_add_softmax": False}
    block["Backbone"] = {"pretrained": False, **backbone}
    block["BackboneStopLayer"] = {"name": stop} if stop else None
    return {**block, "Neck": neck, "Head": head}


def distilled(block: dict[str, Any]) -> dict[str, Any]:
    models = [{"Teacher": copy.deepcopy(block)}, {"Student": copy.deepcopy(block)}]
    top: dict[str, Any] = {"name": "DistillationModel", "is_rec": True, "infer_model_name": "Student"}
    return {**top, "infer_output_key": "features", "freeze_params_list": [False, False], "models": models}


def slimmed(block: dict[str, Any], how: str) -> dict[str, Any]:
    """A model that is pruned or trained for 8 bits; the reference says so beside Arch, in Slim."""
    return {**copy.deepcopy(block), "Slim": how}


def frozen_bias_neck(width: int) -> dict[str, Any]:
    return {
        "name": "BNNeck",
        "num_features": width,
        "weight_attr": {"initializer": {"name": "Constant", "value": 1.0}},
        "bias_attr": {"initializer": {"name": "Constant", "value": 0.0}, "learning_rate": 1.0e-20},
    }


SMALL_NORMAL = {"weight_attr": {"initializer": {"name": "Normal", "std": 0.001}}, "bias_attr": False}
KAIMING_UNIFORM = {"initializer": {"name": "KaimingUniform", "fan_in": 12288}}
VEHICLE_NECK = {"name": "VehicleNeck", "in_channels": 2048, "out_channels": 512}
STRIDE1 = {"name": "ResNet50_last_stage_stride1"}
CLIP = {"return_embed": True, "return_mean_embed": True}
CROSS_DOMAIN = {
    "initializer": {"name": "KaimingUniform", "negative_slope": 2.23606, "nonlinearity": "leaky_relu"}
}


def contrastive(width: int, class_num: int) -> dict[str, Any]:
    backbone: dict[str, Any] = {"name": "WideResNet", "widen_factor": width // 64, "depth": 28, "dropout": 0}
    backbone |= {"num_classes": class_num, "low_dim": 64, "proj": False, "proj_after": False}
    neck = {"name": "FRFNNeck", "num_features": width, "low_dim": 64}
    more = {"infer_output_key": "logits", "head_feature_from": "backbone", "use_sync_bn": True}
    return {**arch(backbone, "bn1", neck, fc(width, class_num)), **more}


ARCHS: dict[str, dict[str, Any]] = {
    "GeneralRecognitionV2/GeneralRecognitionV2_PPLCNetV2_base.yaml": arch(
        {"name": "PPLCNetV2_base_ShiTu", "use_ssld": True, "class_expand": 512},
        "flatten",
        frozen_bias_neck(512),
        fc(512, 192612, **SMALL_NORMAL),
    ),
    "GeneralRecognition/GeneralRecognition_PPLCNet_x2_5.yaml": arch(
        {"name": "PPLCNet_x2_5", "use_ssld": True},
        "flatten",
        fc(1280, 512),
        margin("ArcMargin", 512, 185341, 0.2, 30),
    ),
    "Vehicle/ResNet50.yaml": arch(
        {"name": "ResNet50_last_stage_stride1"},
        "avg_pool",
        VEHICLE_NECK,
        margin("ArcMargin", 512, 431, 0.15, 32),
    ),
    "Products/ResNet50_vd_SOP.yaml": arch(
        {"name": "ResNet50_vd"}, "flatten", fc(2048, 512), margin("ArcMargin", 512, 11319, 0.15, 30)
    ),
    "quick_start/MobileNetV1_retrieval.yaml": arch(
        {"name": "MobileNetV1"}, "flatten", fc(1024, 512), margin("ArcMargin", 512, 101, 0.15, 30)
    ),
    "reid/strong_baseline/softmax_triplet.yaml": arch(
        {"name": "ResNet50_last_stage_stride1", "stem_act": None},
        "flatten",
        frozen_bias_neck(2048),
        fc(2048, 751, **SMALL_NORMAL),
    ),
    "reid/strong_baseline/softmax_triplet_with_center.yaml": arch(
        {"name": "ResNet50_last_stage_stride1", "stem_act": None},
        "flatten",
        frozen_bias_neck(2048),
        fc(2048, 751, **SMALL_NORMAL),
    ),
    "reid/strong_baseline/baseline.yaml": arch(
        {"name": "ResNet50", "stem_act": None},
        "flatten",
        None,
        fc(2048, 751, weight_attr=KAIMING_UNIFORM, bias_attr=KAIMING_UNIFORM),
    ),
    "metric_learning/xbm_resnet50.yaml": arch(
        {"name": "ResNet50_adaptive_max_pool2d", "stem_act": None},
        "flatten",
        fc(
            2048,
            128,
            weight_attr={
                "initializer": {
                    "name": "KaimingNormal",
                    "fan_in": 128,
                    "nonlinearity": "leaky_relu",
                    "negative_slope": 0,
                }
            },
            bias_attr={"initializer": {"name": "Constant", "value": 0.0}},
        ),
    ),
    "metric_learning/adaface_ir18.yaml": arch(
        {"name": "AdaFace_IR_18", "input_size": [112, 112]},
        None,
        None,
        {
            "name": "AdaMargin",
            "embedding_size": 512,
            "class_num": 70722,
            "m": 0.4,
            "s": 64,
            "h": 0.333,
            "t_alpha": 0.01,
        },
    ),
    "DeepHash/DSHSD.yaml": arch({"name": "AlexNet", "class_num": 48}, None, {"name": "Tanh"}, fc(48, 10)),
    "Logo/ResNet50_ReID.yaml": arch(
        {"name": "ResNet50_last_stage_stride1"},
        "avg_pool",
        VEHICLE_NECK,
        margin("CircleMargin", 512, 3000, 0.35, 64),
    ),
    "GeneralRecognition/GeneralRecognition_PPLCNet_x2_5_binary.yaml": arch(
        {"name": "PPLCNet_x2_5_Tanh", "use_ssld": True, "class_num": 512}, None, None, fc(512, 185341)
    ),
}


# the same networks with other classes, and those derived from them
_V1 = ARCHS["GeneralRecognition/GeneralRecognition_PPLCNet_x2_5.yaml"]
_COMPCARS = ARCHS["Vehicle/ResNet50.yaml"]
_WILD = arch(STRIDE1, "avg_pool", VEHICLE_NECK, margin("ArcMargin", 512, 30671, 0.15, 32))
ARCHS |= {
    "Cartoonface/ResNet50_icartoon.yaml": arch({"name": "ResNet50"}, "flatten", None, fc(2048, 5013)),
    "DeepHash/DCH.yaml": {**arch({"name": "AlexNet", "class_num": 48}, None), "is_rec": True},
    "DeepHash/LCDSH.yaml": {**arch({"name": "AlexNet", "class_num": 48}, None), "is_rec": True},
    "GeneralRecognition/GeneralRecognition_PPLCNet_x2_5_dml.yaml": distilled(_V1),
    "GeneralRecognition/GeneralRecognition_PPLCNet_x2_5_udml.yaml": distilled(_V1),
    "GeneralRecognition/Gallery2FC_PPLCNet_x2_5.yaml": slimmed(_V1, "PACT"),
    "GeneralRecognitionV2/GeneralRecognitionV2_CLIP_vit_base.yaml": arch(
        {"name": "CLIP_vit_base_patch16_224", **CLIP},
        "flatten",
        fc(512, 512),
        margin("ArcMargin", 512, 192613, 0.2, 30),
    ),
    "GeneralRecognitionV2/GeneralRecognitionV2_CLIP_vit_large.yaml": arch(
        {"name": "CLIP_vit_large_patch14_224", **CLIP},
        "flatten",
        fc(512, 512),
        margin("ArcMargin", 512, 192613, 0.2, 30),
    ),
    "Products/MV3_Large_1x_Aliproduct_DLBHC.yaml": arch(
        {"name": "MobileNetV3_large_x1_0", "class_num": 512}, None, None, fc(512, 50030)
    ),
    "Products/ResNet50_vd_Aliproduct.yaml": arch(
        {"name": "ResNet50_vd"}, "flatten", fc(2048, 512), fc(512, 50030)
    ),
    "Products/ResNet50_vd_Inshop.yaml": arch(
        {"name": "ResNet50_vd"}, "flatten", fc(2048, 512), margin("ArcMargin", 512, 3997, 0.15, 30)
    ),
    "ResNet50_UReID_infer.yaml": arch(
        {**STRIDE1, "stem_act": None}, "avg_pool", {"name": "BNNeck", "num_features": 2048}, fc(2048, 751)
    ),
    "Vehicle/PPLCNet_2.5x_ReID.yaml": arch(
        {"name": "PPLCNet_x2_5", "use_ssld": True},
        "flatten",
        fc(1280, 512),
        margin("ArcMargin", 512, 30671, 0.15, 32),
    ),
    "Vehicle/ResNet50_ReID.yaml": _WILD,
    "quick_start/professional/VGG19_CIFAR10_DeepHash.yaml": arch(
        {"name": "VGG19Sigmoid", "class_num": 48}, None, None, fc(48, 10)
    ),
    "reid/MetaBIN_ResNet50_cross_domain.yaml": arch(
        {"name": "ResNet50_metabin", "bias_lr_factor": 2.0},
        "flatten",
        {"name": "MetaBNNeck", "num_features": 2048, "use_global_stats": True},
        fc(2048, 751, weight_attr=CROSS_DOMAIN, bias_attr=False),
    ),
    "slim/GeneralRecognition_PPLCNet_x2_5_quantization.yaml": slimmed(_V1, "PACT"),
    "slim/ResNet50_vehicle_cls_prune.yaml": slimmed(_COMPCARS, "pruning"),
    "slim/ResNet50_vehicle_cls_quantization.yaml": slimmed(_COMPCARS, "PACT"),
    "slim/ResNet50_vehicle_reid_prune.yaml": slimmed(_WILD, "pruning"),
    "slim/ResNet50_vehicle_reid_quantization.yaml": slimmed(_WILD, "PACT"),
    "ssl/CCSSL/FixMatchCCSSL_cifar10_4000_4gpu.yaml": contrastive(128, 10),
    "ssl/CCSSL/FixMatchCCSSL_cifar100_10000_4gpu.yaml": contrastive(512, 100),
}


def known(case: dict[str, Any]) -> bool:
    return case["yaml"] in ARCHS


def missing_part(case: dict[str, Any]) -> str | None:
    """The first part of a case's model that does not exist here yet.

    None for a recipe that is not written down above: its test fails and names it.
    """
    if not known(case):
        return None
    return _missing_in(overridden(case))


def _missing_in(block: dict[str, Any]) -> str | None:
    if block["name"] == DISTILLATION:
        found = [_missing_in(model) for entry in block["models"] for model in entry.values()]
        return next((part for part in found if part), None)
    if block["name"] != "RecModel":
        return f"architecture {block['name']}"
    for key, registry in (("Backbone", backbones), ("Neck", necks), ("Head", heads)):
        if block.get(key) and block[key]["name"] not in registry:
            return f"{key.lower()} {block[key]['name']}"
    return f"Slim {block['Slim']}" if "Slim" in block else None


def overridden(case: dict[str, Any]) -> dict[str, Any]:
    """The Arch block of a case with the `Arch.…=value` among its overrides."""
    if not known(case):
        pytest.fail(f"the Arch block of {case['yaml']} has to be added to reference_arch.py", pytrace=False)
    block = copy.deepcopy(ARCHS[case["yaml"]])
    for override in case["overrides"]:
        (section, *keys), value = golden.read_override(override)
        if section == "Arch":
            golden.put(block, keys, value)
    return block


def build(name: str, case: dict[str, Any]) -> Model:
    """The model of a case with its generated weights, at eval."""
    model = build_model(overridden(case), reference_behaviour=True)
    arrays = golden.generated(name, case)
    assert {key for key, _ in to_reference_key(model).values()} | idle_keys(model) == set(arrays)
    state = from_reference_state(model, {k: v for k, v in arrays.items() if k not in idle_keys(model)})
    report = model.load_state_dict(state, strict=False)
    assert not report.unexpected_keys
    return model.eval()
