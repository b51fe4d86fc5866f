"""Runs that are interrupted at a chosen batch, as by Ctrl-C."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from lookalike import Recipe
from lookalike.training.trainer import Trainer, TrainResult, train

WITH_STATE: list[dict[str, Any]] = [
    {"ContrastiveLoss_XBM": {"weight": 0.1, "xbm_size": 28, "embedding_size": 16, "start_iter": 1}},
    {"CenterLoss": {"weight": 0.001, "num_classes": 6, "feat_dim": 16}},
]
"""Losses of the tiny recipe that remember batches, in a memory that 6 batches of 8 fill, or train with it."""


def interrupted_train(recipe: Recipe, after_batches: int, signal_number: int = signal.SIGINT) -> TrainResult:
    """Train, and receive a signal while the given batch is in work."""
    own_step = Trainer._step
    seen = 0

    def step(self: Trainer, batch: dict[str, Any], update: bool) -> Any:
        nonlocal seen
        seen += 1
        if seen == after_batches:
            signal.raise_signal(signal_number)
        return own_step(self, batch, update)

    Trainer._step = step  # type: ignore[method-assign]
    try:
        return train(recipe)
    finally:
        Trainer._step = own_step  # type: ignore[method-assign]


def differing_tensors(one: Path, other: Path) -> list[str]:
    """Names of the tensors that differ in a bit between two checkpoints: raw and averaged weights, losses."""
    names = []
    for file in ("model.safetensors", "state/model.safetensors", "state/loss.safetensors"):
        if (one / file).is_file() or (other / file).is_file():
            a, b = load_file(one / file), load_file(other / file)
            assert a.keys() == b.keys()
            names += [f"{file}: {name}" for name in a if not torch.equal(a[name], b[name])]
    return names
