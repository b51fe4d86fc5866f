"""Distillation from recipe to vectors: trained, resumed, scored, exported, and its student used alone."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from lookalike import Recipe
from lookalike.core.errors import UserError
from lookalike.deploy import Embedder
from lookalike.deploy.export import export
from lookalike.doctor import check_recipe
from lookalike.recipe import load_recipe
from lookalike.training import evaluate
from lookalike.training.trainer import train
from tests.tiny import draw_pictures, recipe_values
from tests.training.runs import differing_tensors, interrupted_train

STUDENT = {"name": "DistillationGTCELoss", "model_names": ["Student"], "key": "logits"}
DISTANCE = {"model_name_pairs": [["Student", "Teacher"]], "key": "features", "mode": "l2"}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_pictures(tmp_path_factory.mktemp("pictures"))


def values_of(pictures: Path, output: Path, frozen: bool, **arch: Any) -> dict[str, Any]:
    values = recipe_values(pictures, output)
    student = {
        **values["Arch"],
        "Backbone": {"name": "Conv4", "width": 8, "depth": 3},
        "Neck": {"name": "FC", "embedding_size": 8, "class_num": 16},
    }
    del student["BackboneStopLayer"]
    teacher = copy.deepcopy(student)
    teacher["Backbone"]["width"] = teacher["Neck"]["embedding_size"] = 16
    values["Arch"] = {
        "name": "DistillationModel",
        "is_rec": True,
        "infer_model_name": "Student",
        "freeze_params_list": [frozen, False],
        "models": [{"Teacher": teacher}, {"Student": student}],
        **arch,
    }
    names = ["Student"] if frozen else ["Student", "Teacher"]
    values["Loss"] = {
        "Train": [
            {"DistillationGTCELoss": {"weight": 1.0, "key": "logits", "model_names": names}},
            {"DistillationDistanceLoss": {"weight": 1.0, **DISTANCE}},
        ]
    }
    return values


@pytest.fixture(scope="module")
def peers(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in which both learn, with averaged weights."""
    output = tmp_path_factory.mktemp("peers")
    values = values_of(pictures, output, frozen=False)
    values["EMA"] = {"decay": 0.5}
    result = train(Recipe.from_dict(values))
    assert set(result.metrics) == {"recall1", "recall2", "mAP"}
    return output


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def recipe_with(output: Path, checkpoint: str) -> Recipe:
    recipe = load_recipe(output / "RecModel" / checkpoint / "recipe.yaml")
    recipe.global_.pretrained_model = str(output / "RecModel" / checkpoint)
    return recipe


def test_both_learn_and_the_student_is_kept_by_itself(peers: Path) -> None:
    best, alone = (
        weights(peers / "RecModel" / "best_model"),
        weights(peers / "RecModel" / "best_model_student"),
    )
    assert {key.split(".")[0] for key in best} == {"Teacher", "Student"}
    assert set(alone) == {key.removeprefix("Student.") for key in best if key.startswith("Student.")}
    assert all(torch.equal(value, best[f"Student.{key}"]) for key, value in alone.items())
    kept = load_recipe(peers / "RecModel" / "best_model_student" / "recipe.yaml")
    assert (kept.arch["name"], kept.arch["Backbone"]["width"]) == ("RecModel", 8)
    assert not kept.loss_train


def test_scores_and_exports_are_the_students(peers: Path, tmp_path: Path, pictures: Path) -> None:
    whole, alone = recipe_with(peers, "best_model"), recipe_with(peers, "best_model_student")
    assert evaluate(whole).metrics == evaluate(alone).metrics
    one, other = export(whole, tmp_path / "whole"), export(alone, tmp_path / "alone")
    assert one.fingerprint == other.fingerprint
    assert one.size == 16
    some = sorted((pictures / "pictures").rglob("*.png"))[:4]
    vectors = Embedder(tmp_path / "whole").encode(some)
    for checkpoint in ("best_model", "best_model_student"):
        found = Embedder.from_checkpoint(peers / "RecModel" / checkpoint).encode(some)
        np.testing.assert_allclose(found, vectors, atol=1e-5)  # another runtime computes the graph
    # the student's weights in the recipe of both models
    whole.global_.pretrained_model = alone.global_.pretrained_model
    assert evaluate(whole).metrics == evaluate(alone).metrics


def test_a_frozen_teacher_stays_as_it_was(peers: Path, pictures: Path, tmp_path: Path) -> None:
    teacher = peers / "RecModel" / "best_model"
    start = {key: value for key, value in weights(teacher).items() if key.startswith("Teacher.")}
    from safetensors.torch import save_file

    save_file(
        {key.removeprefix("Teacher."): value for key, value in start.items()},
        tmp_path / "teacher.safetensors",
    )
    values = values_of(
        pictures, tmp_path, frozen=True, pretrained_list=[str(tmp_path / "teacher.safetensors"), None]
    )
    result = train(Recipe.from_dict(values))
    assert result.iterations > 0
    after = weights(tmp_path / "RecModel" / "latest")
    assert all(torch.equal(value, after[key]) for key, value in start.items())
    assert not torch.equal(after["Student.backbone.blocks.0.bn.running_mean"], torch.zeros(8))


def test_a_resumed_run_goes_on_exactly(pictures: Path, tmp_path: Path) -> None:
    whole, part = tmp_path / "whole", tmp_path / "part"
    train(Recipe.from_dict(values_of(pictures, whole, frozen=True)))
    interrupted_train(Recipe.from_dict(values_of(pictures, part, frozen=True)), after_batches=5)
    values = values_of(pictures, part, frozen=True)
    values["Global"]["checkpoints"] = str(part / "RecModel" / "latest")
    train(Recipe.from_dict(values))
    assert differing_tensors(whole / "RecModel" / "latest", part / "RecModel" / "latest") == []


def test_losses_on_known_classes_read_all_models(pictures: Path, tmp_path: Path) -> None:
    values = values_of(pictures, tmp_path, frozen=False)
    values["Loss"]["Eval"] = values["Loss"]["Train"]
    values["DataLoader"]["Eval"]["Query"]["dataset"]["cls_label_path"] = str(pictures / "train.txt")
    values["DataLoader"]["Eval"]["Gallery"]["dataset"]["cls_label_path"] = str(pictures / "train.txt")
    values["Global"]["epochs"] = 1
    train(Recipe.from_dict(values))
    values["Global"]["pretrained_model"] = str(tmp_path / "RecModel" / "latest")
    losses = evaluate(Recipe.from_dict(values)).losses
    assert {"CELoss_Student", "CELoss_Teacher", "loss"} <= set(losses)


def test_check_looks_at_all_of_it(pictures: Path, tmp_path: Path) -> None:
    recipe = Recipe.from_dict(values_of(pictures, tmp_path, frozen=True))
    (tmp_path / "r.yaml").write_text(recipe.dump(), encoding="utf-8")
    report = check_recipe(str(tmp_path / "r.yaml"), [])
    assert report.ok, report.text()
    assert "Teacher: Conv4 → FC → ArcMargin" in report.text()
    assert "Student: Conv4 → FC → ArcMargin: embedding of 16 numbers" in report.text()
    wrong = check_recipe(str(tmp_path / "r.yaml"), ["Arch.models.0.Teacher.Head.class_num=4"])
    assert "label 4" in wrong.text()


def test_what_is_refused(pictures: Path, tmp_path: Path) -> None:
    values = values_of(pictures, tmp_path, frozen=False, infer_output_key="nekc")
    with pytest.raises(
        UserError, match=r"Arch\.infer_output_key is 'nekc'; this model has backbone, features"
    ):
        train(Recipe.from_dict(values))
    values = values_of(pictures, tmp_path, frozen=False, infer_model_name="Pupil")
    with pytest.raises(UserError, match="there is no model 'Pupil' among Teacher, Student"):
        train(Recipe.from_dict(values))
