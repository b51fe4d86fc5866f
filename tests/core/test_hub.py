"""Whether the Hub can be reached is found out at once."""

from __future__ import annotations

import os

import pytest
from huggingface_hub import constants

from lookalike.core.hub import why_out_of_reach


@pytest.mark.parametrize(
    ("variables", "tried"),
    [
        ({}, True),
        ({"no_proxy": "localhost"}, True),
        ({"ftp_proxy": "http://proxy:1"}, True),
        ({"http_proxy": "http://proxy:1"}, False),
        ({"all_proxy": "http://proxy:1"}, False),
        ({"http_proxy": "http://proxy:1", "no_proxy": "127.0.0.1"}, True),
    ],
)
def test_only_a_proxy_of_the_hub_stands_between(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], tried: bool
) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    reason = why_out_of_reach()
    assert (reason is not None) == tried
    assert reason is None or reason.startswith("127.0.0.1: ")
