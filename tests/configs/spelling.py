"""A recipe as the reference's own files write it: keys without a meaning here, other names, empty values."""

from __future__ import annotations

import copy
from typing import Any

from tests.configs.small import sections

_OLD_LAYER_NAMES = {"flatten": "flatten_0", "avg_pool": "adaptive_avg_pool2d_0"}
_WITHOUT_STOP_LAYERS = ("CLIP", "WideResNet")


def as_the_reference_writes(values: dict[str, Any]) -> dict[str, Any]:
    """The same recipe in the other spelling."""
    there = copy.deepcopy(values)
    _settings(there)
    for section in sections(there["Arch"]):
        if "infer_add_softmax" in section:
            section["infer_add_softmax"] = "false"
        if "Backbone" in section:
            _stop_layer(section)
    for section in sections(there["DataLoader"]):
        if "num_workers" in section:
            section["use_shared_memory"] = True
        _sampler(section)
    for section in sections(there):
        for key, value in section.items():
            if value == {}:
                section[key] = None  # as in `- mAP:`
    for section in sections(there["Optimizer"]):
        if section.get("name") == "MultiStepDecay":
            section |= {"verbose": False, "last_epoch": -1}
    there.setdefault("Metric", {})["Train"] = [{"TopkAcc": {"topk": [1, 5]}}]
    there["Infer"] = {
        "infer_imgs": "docs/images/inference_deployment/whl_demo.jpg",
        "batch_size": 10,
        "transforms": [{"DecodeImage": {"to_rgb": True}}, {"ToCHWImage": None}],
        "PostProcess": {"name": "Topk", "topk": 5, "class_id_map_file": "imagenet1k_label_list.txt"},
    }
    return there


def _settings(values: dict[str, Any]) -> None:
    settings = values["Global"]
    settings["use_visualdl"] = settings.pop("tensorboard")
    settings |= {"use_dali": False, "to_static": False, "infer_imgs": None}
    if settings.get("eval_mode") == "classification":
        del settings["eval_mode"]  # the default there
    head = values["Arch"].get("Head")
    if head is not None:
        settings["class_num"] = head["class_num"]


def _stop_layer(section: dict[str, Any]) -> None:
    stop = section.get("BackboneStopLayer")
    if stop is not None and not section["Backbone"]["name"].startswith(_WITHOUT_STOP_LAYERS):
        stop["name"] = _OLD_LAYER_NAMES[stop["name"]]


def _sampler(section: dict[str, Any]) -> None:
    if section.get("name") == "BatchSampler":
        del section["name"]  # the plain loader
    if section.get("name") == "PKSampler":
        section["total_epochs"] = 1
