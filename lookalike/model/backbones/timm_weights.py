"""Where the pretrained weights of timm's networks are: on the hub, or in its cache on this disk."""

from __future__ import annotations

import socket
import urllib.parse
import urllib.request
from typing import Any

PATIENCE = 5.0
"""Seconds after which the hub counts as out of reach. Its own client tries for a minute and more."""


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


def why_out_of_reach() -> str | None:
    """Why the hub cannot be reached, found out at once; None where it can, or only a proxy knows."""
    from huggingface_hub import constants

    address = urllib.parse.urlsplit(constants.ENDPOINT)
    if address.hostname is None or urllib.request.getproxies():
        return None
    try:
        port = address.port or (80 if address.scheme == "http" else 443)
        socket.create_connection((address.hostname, port), timeout=PATIENCE).close()
    except OSError as error:
        return f"{address.hostname}: {error.strerror or error}"
    return None
