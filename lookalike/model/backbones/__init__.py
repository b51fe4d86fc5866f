"""Backbones, by the names that recipes use. Importing this module fills the registry."""

from lookalike.model.backbones import (
    adaface_ir,
    alexnet,
    clip_vit,
    conv4,
    darknet,
    mobilenet_v1,
    mobilenet_v2,
    mobilenet_v3,
    pplcnet,
    pplcnet_v2,
    resnet,
    swin,
    vgg,
    wide_resnet,
)

__all__ = [
    "adaface_ir",
    "alexnet",
    "clip_vit",
    "conv4",
    "darknet",
    "mobilenet_v1",
    "mobilenet_v2",
    "mobilenet_v3",
    "pplcnet",
    "pplcnet_v2",
    "resnet",
    "swin",
    "vgg",
    "wide_resnet",
]
