"""Backbones, by the names that recipes use. Importing this module fills the registry."""

from lookalike.model.backbones import (
    clip_vit,
    conv4,
    mobilenet_v1,
    mobilenet_v3,
    pplcnet,
    pplcnet_v2,
    resnet,
    swin,
)

__all__ = [
    "clip_vit",
    "conv4",
    "mobilenet_v1",
    "mobilenet_v3",
    "pplcnet",
    "pplcnet_v2",
    "resnet",
    "swin",
]
