"""Where the pretrained weights of timm's networks are in the cache of the hub on this disk."""

from __future__ import annotations

from typing import Any


def cached_file(configuration: Any) -> str | None:
    """The file of a network's weights in the cache of the hub; None where it is not there.

    `configuration` is timm's `pretrained_cfg`.
    """
    if not configuration.hf_hub_id:
        return None
    from huggingface_hub import try_to_load_from_cache

    repository, _, revision = configuration.hf_hub_id.partition("@")
    own = [configuration.hf_hub_filename] if configuration.hf_hub_filename else []
    for file in own or ["model.safetensors", "pytorch_model.bin"]:
        found = try_to_load_from_cache(repository, file, revision=revision or None)
        if isinstance(found, str):
            return found
    return None
