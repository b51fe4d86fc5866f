"""Where the published weights of the reference lie, by name. The addresses are in `published.csv`."""

from __future__ import annotations

import csv
import re
from functools import cache
from importlib.resources import files
from typing import Literal

from lookalike.core.component import Place
from lookalike.core.errors import UserError, did_you_mean
from lookalike.model.backbones.reference_names import REFERENCE_NAMES
from lookalike.model.backbones.reference_zoo import unreadable

PUBLISHER = "PaddleClas/"
"""Before the name of published weights: `pretrained: PaddleClas/general_PPLCNetV2_base`."""

Kind = Literal["recognition", "imagenet", "solider", "start"]

_SAME_WEIGHTS = {
    "PPLCNet_x2_5_Tanh": "PPLCNet_x2_5",
    "PPLCNetV2_base_ShiTu": "PPLCNetV2_base",
    "ResNet50_last_stage_stride1": "ResNet50",
    "ResNet50_adaptive_max_pool2d": "ResNet50",
    "ResNet50_metabin": "ResNet50",
    "VGG19Sigmoid": "VGG19",
}

_USUALLY_FROM_22K = ("SwinTransformer_large_patch4_window7_224", "SwinTransformer_large_patch4_window12_384")
"""Backbones whose weights were trained on ImageNet-22k first, unless a recipe says something else."""


@cache
def published(kind: Kind | None = None) -> dict[str, str]:
    """Addresses by name: `recognition` whole models, `imagenet` classifiers by the name of their backbone,
    `solider` backbones for people, `start` the first weights of some recipes; all without a kind.
    """
    text = files("lookalike.model.weights").joinpath("published.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines())
    return {row["name"]: row["url"] for row in rows if kind in (None, row["kind"])}


def published_url(name: str) -> str:
    """Address of published weights. The version may be left out: then it is the newest.

    Raises UserError that names the nearest ones.
    """
    known = published()
    if name in known:
        return known[name]
    versions = sorted(other for other in known if re.fullmatch(re.escape(name) + r"_v[\d.]+", other))
    files_named = [url for url in known.values() if url.rsplit("/", 1)[1] in (name, f"{name}.pdparams")]
    if versions:
        return known[versions[-1]]
    if files_named:
        return files_named[0]
    short = sorted({re.sub(r"_v[\d.]+$", "", other) for other in published("recognition")})
    raise UserError(
        f"{PUBLISHER}{name}: no weights of this name are published{did_you_mean(name, [*short, *known])} "
        f"(whole recognition models: {', '.join(short)}; all names: lookalike convert --list)"
    )


def pretrained_url(
    name: str,
    ssld: bool = False,
    ssld_stage1: bool = False,
    imagenet22k: bool = False,
    imagenet22kto1k: bool | None = None,
    place: Place | None = None,
) -> str:
    """Address of the weights of a backbone, by default those of ImageNet-1k.

    `ssld` asks for those distilled from a larger network, `imagenet22k` for those of ImageNet-22k,
    `imagenet22kto1k` for those that were then fine-tuned. Raises UserError where none are published.
    """
    where = place or Place()
    twin = REFERENCE_NAMES.get(name)
    if twin is not None and twin.keys is None:
        raise where.error(unreadable(name, twin))
    same = _SAME_WEIGHTS.get(name, name)
    url = published("imagenet").get(same) or published("solider").get(same)
    if url is None:
        raise where.error(
            f"no pretrained weights are published for {name}: give a path or a URL as 'pretrained', or false"
        )
    if ssld_stage1 and not ssld:
        raise UserError(f"{place or name}: use_ssld_stage1_pretrained needs use_ssld: true")
    if imagenet22kto1k is None:
        imagenet22kto1k = same in _USUALLY_FROM_22K and not (ssld or imagenet22k)
    asked = [
        option
        for option, wanted in (("_ssld", ssld), ("_22k", imagenet22k), ("_22kto1k", imagenet22kto1k))
        if wanted
    ]
    if len(asked) > 1:
        raise where.error("use_ssld and the weights of ImageNet-22k exclude each other: ask for one of them")
    if asked and "_pretrained" not in url:
        raise where.error(f"only one set of weights is published for {name}, without SSLD or ImageNet-22k")
    if asked and "_ssld_pretrained" not in url:
        url = url.replace("_pretrained", f"{asked[0]}_pretrained")
    return url.replace("ssld_pretrained", "ssld_stage1_pretrained") if ssld_stage1 else url
