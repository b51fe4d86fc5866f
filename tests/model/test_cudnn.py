"""cuDNN's settings of the whole process, and that they are put back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import torch

from lookalike.model.cudnn import full_float32

SETTINGS = torch.backends.cudnn


@pytest.fixture(autouse=True)
def _as_by_itself(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The settings that PyTorch begins with, as on a machine with a GPU."""
    before = settings()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    SETTINGS.allow_tf32, SETTINGS.benchmark = True, False
    yield
    SETTINGS.allow_tf32, SETTINGS.benchmark = before


def settings() -> tuple[bool, bool]:
    return SETTINGS.allow_tf32, SETTINGS.benchmark


def test_settings_are_put_back_also_after_an_error() -> None:
    with full_float32():
        assert settings() == (False, False)
        with full_float32(choose_fastest=True):
            assert settings() == (False, True)
        assert not SETTINGS.allow_tf32
    assert settings() == (True, False)
    with pytest.raises(KeyError), full_float32(choose_fastest=True):
        raise KeyError
    assert settings() == (True, False)


@pytest.mark.parametrize("choose_fastest", [False, True])
def test_two_threads_do_not_put_back_what_the_other_set(choose_fastest: bool) -> None:
    """The one that came first leaves first, so that each has seen the other's settings."""
    one, other = ExitStack(), ExitStack()
    one.enter_context(full_float32(choose_fastest))
    other.enter_context(full_float32(choose_fastest))
    one.close()
    assert settings() == (False, choose_fastest)  # the other still computes
    other.close()
    assert settings() == (True, False)


def test_without_a_gpu_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with full_float32(choose_fastest=True):
        assert settings() == (True, False)
