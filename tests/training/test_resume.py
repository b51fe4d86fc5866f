"""A run that was interrupted and resumed equals one that was not, bit for bit."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from lookalike import Recipe, train
from lookalike.core.errors import UserError
from tests.tiny import recipe_values
from tests.training.runs import WITH_STATE, differing_tensors, interrupted_train


def _recipe(pictures: Path, output: Path, workers: int = 0, **settings: Any) -> Recipe:
    values = recipe_values(pictures, output, epochs=2, num_workers=workers)
    values["EMA"] = {"decay": 0.9}
    values["Loss"]["Train"] += WITH_STATE
    values["Global"] |= {"eval_during_train": True, **settings}
    return Recipe.from_dict(values)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("after", [2, 9], ids=["first epoch", "second epoch"])
def test_resumed_run_equals_uninterrupted_run(
    pictures: Path, tmp_path: Path, workers: int, after: int
) -> None:
    whole = train(_recipe(pictures, tmp_path / "whole", workers))
    assert whole.interrupted is None

    stopped = interrupted_train(_recipe(pictures, tmp_path / "parts", workers), after)
    assert stopped.interrupted == "SIGINT"
    latest = tmp_path / "parts" / "RecModel" / "latest"
    state = json.loads((latest / "state" / "training.json").read_text())
    assert 0 < state["batches_done"] < 6  # in the middle of an epoch
    resumed = train(_recipe(pictures, tmp_path / "parts", workers, checkpoints=str(latest)))

    assert resumed.iterations == whole.iterations
    assert differing_tensors(tmp_path / "whole/RecModel/latest", latest) == []
    assert (
        differing_tensors(tmp_path / "whole/RecModel/best_model", tmp_path / "parts/RecModel/best_model")
        == []
    )
    assert resumed.metrics == whole.metrics
    assert resumed.best_metric == whole.best_metric
    histories = [
        json.loads((tmp_path / part / "RecModel/latest/state/training.json").read_text())["history"]
        for part in ("whole", "parts")
    ]
    assert histories[0] == histories[1]


def test_sigterm_in_the_last_batch_of_an_epoch_still_closes_the_epoch(pictures: Path, tmp_path: Path) -> None:
    stopped = interrupted_train(_recipe(pictures, tmp_path), 6, signal.SIGTERM)
    assert stopped.interrupted == "SIGTERM"
    assert stopped.epochs == 1
    state = json.loads((tmp_path / "RecModel/latest/state/training.json").read_text())
    assert (state["epoch"], state["batches_done"]) == (2, 0)
    assert (tmp_path / "RecModel/best_model/model.safetensors").is_file()


def test_resume_keeps_the_best_metric(pictures: Path, tmp_path: Path) -> None:
    interrupted_train(_recipe(pictures, tmp_path), 8)
    file = tmp_path / "RecModel/latest/state/training.json"
    state = json.loads(file.read_text())
    state["best_metric"] = 2.0  # better than any recall can be
    file.write_text(json.dumps(state))
    before = (tmp_path / "RecModel/best_model/model.safetensors").read_bytes()
    result = train(_recipe(pictures, tmp_path, checkpoints=str(tmp_path / "RecModel/latest")))
    assert result.best_metric == 2.0
    assert (tmp_path / "RecModel/best_model/model.safetensors").read_bytes() == before


def test_gradient_accumulation_stops_between_updates(pictures: Path, tmp_path: Path) -> None:
    whole = train(_recipe(pictures, tmp_path / "whole", update_freq=2))
    interrupted_train(_recipe(pictures, tmp_path / "parts", update_freq=2), 3)
    latest = tmp_path / "parts/RecModel/latest"
    assert json.loads((latest / "state/training.json").read_text())["batches_done"] == 4
    resumed = train(_recipe(pictures, tmp_path / "parts", update_freq=2, checkpoints=str(latest)))
    assert resumed.iterations == whole.iterations
    assert differing_tensors(tmp_path / "whole/RecModel/latest", latest) == []


def test_resume_from_nothing_is_one_sentence(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere is not there.*Global.checkpoints"):
        train(_recipe(pictures, tmp_path, checkpoints=str(tmp_path / "nowhere")))


def test_resume_of_another_model_is_one_sentence(pictures: Path, tmp_path: Path) -> None:
    interrupted_train(_recipe(pictures, tmp_path), 2)
    values = recipe_values(pictures, tmp_path / "other")
    values["Arch"]["Neck"]["class_num"] = values["Arch"]["Head"]["embedding_size"] = 8
    values["Global"]["checkpoints"] = str(tmp_path / "RecModel/latest")
    with pytest.raises(UserError, match="belongs to another model"):
        train(Recipe.from_dict(values))


def test_averaging_may_begin_with_a_resumed_run(pictures: Path, tmp_path: Path) -> None:
    """The average of a run that had none starts at the weights it resumes, not at random ones."""
    values = recipe_values(pictures, tmp_path / "plain", epochs=1)
    train(Recipe.from_dict(values))
    plain = tmp_path / "plain/RecModel/latest"
    recipe = _recipe(pictures, tmp_path / "averaged", eval_during_train=False, checkpoints=str(plain))
    recipe.global_.epochs = 1  # nothing is left to train
    train(recipe)
    averaged = load_file(tmp_path / "averaged/RecModel/latest/model.safetensors")
    before = load_file(plain / "model.safetensors")
    assert all(torch.equal(before[name], averaged[name]) for name in before)
