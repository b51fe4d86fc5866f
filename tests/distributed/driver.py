"""What each of two processes does for `test_training.py`, in one start because a start takes seconds.

    torchrun … -m tests.distributed.driver FOLDER

A run that a signal to the second process interrupts is resumed, then its model is evaluated; each process
writes what it found to `FOLDER/RANK.json`.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import torch.distributed as dist

from lookalike import Recipe, evaluate, train
from lookalike.core import process
from lookalike.training.trainer import Trainer
from tests.tiny import recipe_values
from tests.training.runs import WITH_STATE, interrupted_train
from tests.training.test_distillation import values_of as distillation

NEVER = 10**9


def values(pictures: Path, output: Path) -> dict[str, Any]:
    """The tiny recipe with averaged weights, and losses that remember the samples of both processes."""
    made = recipe_values(pictures, output)
    made["Loss"]["Train"] += WITH_STATE
    made["EMA"] = {"decay": 0.9}
    return made


def digest(trainer: Trainer) -> str:
    """All that a trained run holds, in one word."""
    assert trainer.ema is not None
    found = hashlib.sha256()
    for state in (trainer.model.state_dict(), trainer.loss.state_dict(), trainer.ema.average):
        for tensor in state.values():
            found.update(tensor.contiguous().numpy().tobytes())
    return found.hexdigest()


def main(folder: Path, pictures: Path) -> None:
    rank = process.rank()
    dist.init_process_group("gloo")
    trainers: list[Trainer] = []
    own_run = Trainer.run

    def run(self: Trainer) -> Any:
        trainers.append(self)
        return own_run(self)

    Trainer.run = run  # type: ignore[method-assign]
    recipe = values(pictures, folder / "parts")
    stopped = interrupted_train(Recipe.from_dict(recipe), 2 if rank == 1 else NEVER)
    recipe["Global"]["checkpoints"] = str(folder / "parts" / "RecModel" / "latest")
    dist.barrier()
    resumed = train(Recipe.from_dict(recipe))
    weights = digest(trainers[-1])
    recipe["Global"] |= {"checkpoints": None, "pretrained_model": str(folder / "whole/RecModel/best_model")}
    scored = evaluate(Recipe.from_dict(recipe))
    train(Recipe.from_dict({**distillation(pictures, folder / "peers", frozen=False), "EMA": {"decay": 0.9}}))
    told = {
        "peers": digest(trainers[-1]),
        "stopped": stopped.interrupted,
        "stopped_after": stopped.iterations,
        "metrics": resumed.metrics,
        "best_metric": resumed.best_metric,
        "weights": weights,
        "eval": scored.to_dict() | {"seconds": 0},
    }
    (folder / f"{rank}.json").write_text(json.dumps(told))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
