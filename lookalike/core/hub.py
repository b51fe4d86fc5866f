"""Whether the Hugging Face Hub can be reached."""

from __future__ import annotations

import socket
import urllib.parse
import urllib.request

PATIENCE = 5.0
"""Seconds after which the Hub counts as out of reach. Its own client tries for a minute and more."""


def why_out_of_reach() -> str | None:
    """Why the Hub cannot be reached, found out at once; None where it can, or only a proxy knows."""
    from huggingface_hub import constants

    address = urllib.parse.urlsplit(constants.ENDPOINT)
    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    if address.hostname is None or _by_proxy(address.scheme, address.hostname):
        return None
    try:
        port = address.port or (80 if address.scheme == "http" else 443)
        socket.create_connection((address.hostname, port), timeout=PATIENCE).close()
    except OSError as error:
        return f"{address.hostname}: {error.strerror or error}"
    return None


def _by_proxy(scheme: str, host: str) -> bool:
    """Whether a proxy stands between; `no_proxy` names those that are reached without one."""
    proxies = urllib.request.getproxies()
    return not {scheme, "all"}.isdisjoint(proxies) and not urllib.request.proxy_bypass(host)
