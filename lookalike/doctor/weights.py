"""The pretrained weights that a recipe asks for: a file, or something that training would have to fetch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from lookalike.core.component import Component
from lookalike.doctor.findings import Report
from lookalike.model.backbones.timm_weights import cached_file
from lookalike.model.weights.downloads import cached_path
from lookalike.model.weights.sources import address_of
from lookalike.model.weights.urls import pretrained_url
from lookalike.recipe import Recipe


def backbones_from_files(recipe: Recipe, report: Report) -> bool:
    """Whether all weights that the models start from are files that can be read here, or none.

    Others are told, and not fetched.
    """
    found = []
    for network in recipe.networks.values():
        backbone = network.get("Backbone")
        if isinstance(backbone, Mapping) and backbone.get("pretrained"):
            found.append(backbone_from_file(network, report))
    for number, source in enumerate(recipe.arch.get("pretrained_list") or []):
        if isinstance(source, str) and source:
            key = f"Arch.pretrained_list[{number}]"
            with report.catch("weights"):
                if (address := address_of(source)) is not None:
                    tell_address(key, "the weights of a model", address, report)
                found.append(address is None and exists(source))
    return all(found) if found else False


def backbone_from_file(arch: Mapping[str, Any], report: Report) -> bool:
    """Whether the backbone's weights are a file that can be read here. Others are told, and not fetched."""
    backbone = arch.get("Backbone")
    wanted = backbone.get("pretrained") if isinstance(backbone, Mapping) else None
    if not wanted or not isinstance(wanted, (bool, str)):
        return False
    component = Component.of(backbone, "Arch.Backbone")
    key, what = f"{component.place.path}.pretrained", f"the weights of {component.name}"
    if isinstance(wanted, str):
        with report.catch("weights"):
            address = address_of(wanted)
            if address is None:
                return exists(wanted)
            tell_address(key, what, address, report)
    elif component.name.startswith("timm/"):
        _tell_timm(key, what, component.name.removeprefix("timm/"), report)
    else:
        options: dict[str, Any] = {
            "ssld": bool(component.arguments.get("use_ssld")),
            "ssld_stage1": bool(component.arguments.get("use_ssld_stage1_pretrained")),
            "imagenet22k": bool(component.arguments.get("use_imagenet22k_pretrained")),
            "imagenet22kto1k": component.arguments.get("use_imagenet22kto1k_pretrained"),
        }
        with report.catch("weights"):
            address = pretrained_url(component.name, place=component.place, **options)
            tell_address(key, what, address, report)
    return False


def exists(path: str) -> bool:
    """Whether there is such a file, with the suffix of a file of weights or without."""
    return any(
        Path(f"{path}{suffix}").exists() for suffix in ("", ".pdparams", ".safetensors", ".pth", ".pt")
    )


def tell_address(key: str, what: str, address: str, report: Report) -> None:
    """Whether the weights behind an address were fetched before."""
    kept = cached_path(address)
    _tell(key, what, address, kept if kept.is_file() else None, report)


def _tell(key: str, what: str, whence: str, kept: Path | None, report: Report) -> None:
    if kept is not None:
        report.right("weights", f"{key}: {what} were fetched before, they are in {kept}; not looked at here")
        return
    report.doubtful(
        "weights",
        f"{key}: {what} are not on this machine: they are fetched when training starts, from {whence}; "
        f"where that cannot be reached, name a local file: -o {key}=FILE",
    )


def _tell_timm(key: str, what: str, name: str, report: Report) -> None:
    import timm

    published = timm.get_pretrained_cfg(name)
    if published is None:
        return  # the network is unknown, which building it tells
    if not published.has_weights:
        report.wrong("weights", f"{key}: timm knows no published {what}; give a file, or False")
        return
    hub = published.hf_hub_id
    if hub:
        found = cached_file(published)
        named = hub if found else f"huggingface.co/{hub.partition('@')[0]}"
        _tell(key, what, named, Path(found) if found else None, report)
        return
    from torch.hub import get_dir

    address = str(published.url)
    kept = Path(get_dir()) / "checkpoints" / Path(urlparse(address).path).name
    _tell(key, what, address, kept if kept.is_file() else None, report)
