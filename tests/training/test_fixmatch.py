"""Semi-supervised training: pseudo labels, two strong views, and that an interrupted run goes on exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from lookalike import Recipe, train
from lookalike.core.errors import UserError
from lookalike.training.trainer import Trainer
from tests.tiny import recipe_values
from tests.training.runs import differing_tensors, interrupted_train

WEIGHTS = {"CCSSLCELoss": {"weight": 1.0}}, {"SoftSupConLoss": {"weight": 0.5, "temperature": 0.07}}


def values(pictures: Path, output: Path, mode: str = "fixmatch_ccssl", **settings: Any) -> dict[str, Any]:
    made = recipe_values(pictures, output, epochs=2)
    # more batches than either loader has, so that both begin again
    made["Global"] |= {"train_mode": mode, "iter_per_epoch": 8, "eval_during_train": False, **settings}
    made["SSL"] = {"T": 1, "threshold": 0.3}
    made["EMA"] = {"decay": 0.9}
    made["Arch"] = {
        "name": "RecModel",
        "Backbone": {"name": "Conv4", "widths": [4, 4, 8, 16]},
        "Neck": {"name": "FRFNNeck", "num_features": 16, "low_dim": 8},
        "Head": {"name": "FC", "embedding_size": 16, "class_num": 6},
        "head_feature_from": "backbone",
    }
    made["Loss"] = {"Train": [{"CELoss": {"weight": 1.0}}]}
    made["UnLabelLoss"] = {"Train": list(WEIGHTS if mode == "fixmatch_ccssl" else [{"CELoss": {}}])}
    made["Optimizer"] = {
        "name": "Momentum",
        "use_nesterov": True,
        "weight_decay": 0.001,
        "lr": {"name": "CosineFixmatch", "learning_rate": 0.03, "num_warmup_steps": 0},
    }
    block = made["DataLoader"]["Train"]
    block["sampler"] = {
        "name": "DistributedBatchSampler", "batch_size": 8, "shuffle": True, "drop_last": True
    }  # fmt: skip
    dataset = dict(block["dataset"])
    varied = dataset.pop("transform_ops")
    dataset |= {"transform_ops_weak": varied[1:3], "transform_ops_strong": varied}
    dataset["transform_ops_weak"] = [{"ResizeImage": {"size": [32, 32]}}, *dataset["transform_ops_weak"]]
    if mode == "fixmatch_ccssl":
        dataset["transform_ops_strong2"] = varied[:3]
    sampler = block["sampler"] | {"batch_size": 16}
    made["DataLoader"]["UnLabelTrain"] = {"dataset": dataset, "sampler": sampler, "loader": {}}
    return made


@pytest.mark.parametrize("mode", ["fixmatch", "fixmatch_ccssl"])
def test_it_trains(pictures: Path, tmp_path: Path, mode: str) -> None:
    result = train(Recipe.from_dict(values(pictures, tmp_path, mode, epochs=1)))
    assert result.iterations == 8
    log = (tmp_path / "RecModel/train.log").read_text()
    assert "CELoss: " in log
    assert "CCSSLCELoss: " in log
    assert ("SoftSupConLoss: " in log) == (mode == "fixmatch_ccssl")
    assert "confident: " in log


def test_the_loss_is_that_of_confident_guesses(pictures: Path, tmp_path: Path) -> None:
    """FixMatch by hand on the step's own batch: dropout and batch statistics are those of one joint pass."""
    made = values(pictures, tmp_path, "fixmatch")
    made["SSL"]["threshold"] = 0.17  # near 1/6, so that some of the untrained guesses count
    trainer = Trainer(Recipe.from_dict(made), torch.device("cpu"), tmp_path / "RecModel")
    trainer.model.train()
    batch = next(trainer.step.batches(trainer.progress))
    ours, others = batch["Train"][0], batch["UnLabelTrain"]
    assert set(others) >= {"image", "strong"}
    assert not torch.equal(others["image"], others["strong"])
    with torch.no_grad():
        logits = trainer.model(torch.cat([ours["image"], others["image"], others["strong"]]))["logits"]
    labelled, weak, strong = logits[:8], logits[8:24], logits[24:]
    probability, guess = weak.softmax(dim=1).max(dim=1)
    counts = probability >= 0.17
    assert int(counts.sum()) > 0
    unlabelled = (
        sum(
            float(functional.cross_entropy(strong[i : i + 1], guess[i : i + 1]))
            for i in range(16)
            if counts[i]
        )
        / 16
    )
    losses = trainer.step.run(batch, True)
    assert float(losses["CELoss"]) == pytest.approx(float(functional.cross_entropy(labelled, ours["label"])))
    assert float(losses["CCSSLCELoss"]) == pytest.approx(unlabelled, rel=1e-5)
    assert float(losses["loss"]) == pytest.approx(float(losses["CELoss"]) + unlabelled, rel=1e-5)
    assert float(losses["confident"]) == pytest.approx(float(counts.float().mean()))


@pytest.mark.parametrize("after", [3, 15], ids=["first round", "second epoch, second round"])
def test_resumed_run_equals_uninterrupted_run(pictures: Path, tmp_path: Path, after: int) -> None:
    whole = train(Recipe.from_dict(values(pictures, tmp_path / "whole")))
    parts = values(pictures, tmp_path / "parts")
    assert interrupted_train(Recipe.from_dict(parts), after).interrupted == "SIGINT"
    latest = tmp_path / "parts/RecModel/latest"
    parts["Global"]["checkpoints"] = str(latest)
    assert train(Recipe.from_dict(parts)).iterations == whole.iterations
    assert differing_tensors(tmp_path / "whole/RecModel/latest", latest) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda made: made.pop("UnLabelLoss"), "needs UnLabelLoss.Train"),
        (lambda made: made["DataLoader"].pop("UnLabelTrain"), "needs DataLoader.UnLabelTrain"),
        (
            lambda made: made["DataLoader"]["UnLabelTrain"]["dataset"].pop("transform_ops_strong2"),
            "needs transform_ops_weak, transform_ops_strong, transform_ops_strong2",
        ),
        (lambda made: made["Arch"]["Head"].update(name="ArcMargin"), "a head that classifies without labels"),
        (lambda made: made["SSL"].update(threshold=2), "SSL.threshold: must be at most 1"),
    ],
)
def test_messages(pictures: Path, tmp_path: Path, change: Any, message: str) -> None:
    made = values(pictures, tmp_path)
    change(made)
    with pytest.raises(UserError, match=message):
        train(Recipe.from_dict(made))
