"""A recipe of a real run turned into one of seconds: sizes and counts change, its parts do not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.configs.pictures import CLASSES
from tests.configs.table import Row
from tests.golden.golden import put

ITERATIONS = 2
_BATCH = 8
_SMALLER = {224: 32, 227: 33, 256: 40}
_FIXED_SIZE = ("AlexNet", "VGG", "CLIP", "AdaFace", "WideResNet")
"""Networks that take pictures of one size only, or small ones already."""


def small(values: dict[str, Any], row: Row, shrunk: bool) -> dict[str, Any]:
    """The values of a recipe for `ITERATIONS` steps of a few pictures, without weights from elsewhere.

    `shrunk` makes the pictures small and takes the small network that the row names; otherwise the network
    has its full width and the pictures their size.
    """
    trains = "DataLoader" in values
    _settings(values["Global"], trains)
    heads = [section["Head"] for section in sections(values["Arch"]) if "Head" in section]
    for head in heads:
        head["class_num"] = CLASSES + row.first_label
    for section in sections(values["Arch"]):
        if section.get("pretrained"):
            section["pretrained"] = False
    for section in sections(values.get("Loss")):
        _loss(section)
    for section in sections(values.get("DataLoader")):
        _sampler(section)
        if "num_workers" in section:
            section["num_workers"] = 0
        if "sample_per_label" in section:
            section["sample_per_label"] = 2
    if shrunk:
        for path, value in row.small.items():
            put(values, path.split("."), value)
        if not any(name.startswith(_FIXED_SIZE) for name in backbones(values["Arch"])):
            _smaller_pictures(values)
    return values


def backbones(arch: dict[str, Any]) -> list[str]:
    """The names of all backbones below `Arch`."""
    return [section["Backbone"]["name"] for section in sections(arch) if "Backbone" in section]


def sections(value: Any) -> Iterator[dict[str, Any]]:
    """A section and all below it."""
    if isinstance(value, dict):
        yield value
    for below in value.values() if isinstance(value, dict) else value if isinstance(value, list) else []:
        yield from sections(below)


def _settings(settings: dict[str, Any], trains: bool) -> None:
    settings |= {"device": "cpu", "save_inference_dir": "inference", "seed": 1, "pretrained_model": None}
    if not trains:
        return
    settings |= {"output_dir": "output", "epochs": 1, "iter_per_epoch": ITERATIONS, "save_interval": 0}
    settings |= {"eval_interval": 1, "print_batch_step": 1, "tensorboard": False}
    if "warmup_iter" in settings:
        settings["warmup_iter"] = 1  # an ordinary step, then one of meta-learning


def _loss(section: dict[str, Any]) -> None:
    for key, value in {"n_class": CLASSES, "num_classes": CLASSES, "xbm_size": 12, "start_iter": 1}.items():
        if key in section:
            section[key] = value


def _sampler(section: dict[str, Any]) -> None:
    if "batch_size" not in section:
        return
    section["batch_size"] = _BATCH
    if "max_iters" in section:
        section["max_iters"] = ITERATIONS
    if "id_list" in section:  # positions in a list of few classes
        section["id_list"] = [1, 2, 3, 4]


def _smaller_pictures(values: dict[str, Any]) -> None:
    channels, height, width = values["Global"]["image_shape"]
    values["Global"]["image_shape"] = [channels, *_smaller([height, width])]
    for section in sections(values.get("DataLoader")):
        for key in ("size", "resize_short", "img_size"):
            if key in section:
                section[key] = _smaller(section[key])
        if "padding" in section:
            section["padding"] = 2


def _smaller(size: Any) -> Any:
    if isinstance(size, list):
        return [side // 4 for side in size] if set(size) == {128, 256} else [_smaller(side) for side in size]
    return _SMALLER.get(size, size)
