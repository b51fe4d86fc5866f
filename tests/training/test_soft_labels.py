"""Mixed batches train a plain classifier, and are refused where one image has to have one class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lookalike import Recipe, train
from lookalike.core.errors import UserError
from tests.tiny import recipe_values
from tests.training.runs import differing_tensors, interrupted_train


def values(pictures: Path, output: Path) -> dict[str, Any]:
    made = recipe_values(pictures, output, epochs=1)
    made["Global"]["eval_during_train"] = False
    made["Arch"]["Backbone"] = {"name": "Conv4", "widths": [4, 4, 8, 32]}
    made["Arch"].pop("BackboneStopLayer")
    made["Arch"]["Head"] = {"name": "FC", "embedding_size": 16, "class_num": 6}
    made["Loss"]["Train"] = [{"CELoss": {"epsilon": 0.1}}]
    train_set = made["DataLoader"]["Train"]["dataset"]
    train_set["batch_transform_ops"] = [{"OpSampler": {"MixupOperator": {"alpha": 0.8, "prob": 1.0}}}]
    return made


def test_a_resumed_run_mixes_the_same(pictures: Path, tmp_path: Path) -> None:
    assert train(Recipe.from_dict(values(pictures, tmp_path / "whole"))).iterations == 6
    parts = values(pictures, tmp_path / "parts")
    interrupted_train(Recipe.from_dict(parts), 3)
    latest = tmp_path / "parts/RecModel/latest"
    parts["Global"]["checkpoints"] = str(latest)
    train(Recipe.from_dict(parts))
    assert differing_tensors(tmp_path / "whole/RecModel/latest", latest) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda made: made["Arch"]["Head"].update(name="ArcMargin"),
            "the margin of ArcMargin is for the one",
        ),
        (
            lambda made: made["Loss"]["Train"].append({"TripletLossV2": {}}),
            "TripletLossV2 reads the one class of an image",
        ),
    ],
)
def test_refusals(pictures: Path, tmp_path: Path, change: Any, message: str) -> None:
    made = values(pictures, tmp_path)
    change(made)
    with pytest.raises(UserError, match=message):
        train(Recipe.from_dict(made))
