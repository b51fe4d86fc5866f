"""What a recipe takes, what it refuses, and the sentences it says."""

from __future__ import annotations

import copy
import logging
import pickle
from pathlib import Path
from typing import Any

import pytest
import yaml

from lookalike.core.component import Section, SectionList
from lookalike.core.errors import UserError
from lookalike.core.log import logger
from lookalike.recipe import Global, Recipe, list_recipes, load_recipe

SOP = Path(__file__).resolve().parents[2] / "recipes" / "product" / "sop.yaml"


def changed(tmp_path: Path, old: str, new: str) -> Path:
    text = SOP.read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "sop.yaml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return path


def line_of(path: Path, text: str) -> int:
    return next(n for n, line in enumerate(path.read_text("utf-8").splitlines(), 1) if text in line)


@pytest.fixture
def warnings() -> Any:
    told: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append(record.getMessage())

    listener = Listener()
    logger.addHandler(listener)
    yield told
    logger.removeHandler(listener)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "  epochs: 120",
            "  epoch: 120",
            "Global.epoch: unknown key 'epoch', did you mean 'epochs'? (accepts: ",
        ),
        ("  epochs: 120", "  epochs: many", "Global.epochs: must be a whole number, got 'many'"),
        ("  epochs: 120", "  epochs: 0", "Global.epochs: must be at least 1, got 0"),
        ("  epochs: 120", "  epochs: 1.5", "Global.epochs: must be a whole number, got 1.5"),
        ("  epochs: 120", "  train_mode: progressive", "Global.train_mode: progressive training, whose pict"),
        (
            "pretrained_model: http",
            "pretrained_model: [1]\n  # http",
            "Global.pretrained_model: must be text, or true or false, got [1]",
        ),
        ("  epochs: 120", "  epochs: True", "Global.epochs: a number is needed, not true or false, got True"),
        ("  device: gpu", "  device: gpus", "Global.device: must be one of auto, cpu, gpu, "),
        ("eval_mode: retrieval", "eval_mode: retrival", "Global.eval_mode: must be one of 'retrieval', "),
        (
            "eval_during_train: True",
            "eval_during_train: maybe",
            "Global.eval_during_train: must be true or false, got 'maybe'",
        ),
        ("image_shape: [3, 224, 224]", "image_shape: [3, 224]", "Global.image_shape: must have 3 entries"),
        (
            "image_shape: [3, 224, 224]",
            "image_shape: [3, 224, x]",
            "Global.image_shape[2]: must be a whole number",
        ),
        (
            "  name: RecModel",
            "  name: RecModle",
            "Arch.name: must be RecModel or DistillationModel, got 'RecModle'",
        ),
        ("  Neck:", "  Nekc:", "Arch.Nekc: unknown key 'Nekc', did you mean 'Neck'? (accepts: name, "),
        (
            "  Head:\n    name: ArcMargin",
            "  Head:\n    nam: ArcMargin",
            "Arch.Head: expected a head, written as a section ",
        ),
        (
            "    - TripletLossV2:\n        weight: 1.0\n        margin",
            "    - TripletLossV2:\n      weight: 1.0\n      margin",
            "Loss.Train[1]: expected one loss, ",
        ),
        (
            "Loss:\n  Train:",
            "Loss:\n  Trian:",
            "Loss.Trian: unknown key 'Trian', did you mean 'Train'? (accepts: Train, Eval, ",
        ),
        (
            "Optimizer:",
            "Optimiser:",
            "Optimiser: unknown key 'Optimiser', did you mean 'Optimizer'? (accepts: Global, ",
        ),
        ("  name: Momentum", "  nam: Momentum", "Optimizer: expected an optimizer"),
        (
            "    Gallery:",
            "    Galery:",
            "DataLoader.Eval.Galery: unknown key 'Galery', did you mean 'Gallery'?",
        ),
        (
            "    sampler:",
            "    samplr:",
            "DataLoader.Train.samplr: unknown key 'samplr', did you mean 'sampler'?",
        ),
        (
            "    loader:\n      num_workers: 6",
            "    loader: 6",
            "DataLoader.Train.loader: must be a section of keys, got 6",
        ),
        ("  Eval:\n    - Recallk:", "  Eval:\n    Recallk:", "not valid YAML"),
    ],
)
def test_mistakes_are_named_with_file_and_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = changed(tmp_path, old, new)
    with pytest.raises(UserError) as caught:
        load_recipe(path)
    message = str(caught.value)
    assert said in message
    assert "\n" not in message
    assert message.startswith(f"{path}:")
    assert int(message[len(f"{path}:") :].split(":")[0]) > 1


def test_the_line_is_that_of_the_mistake(tmp_path: Path) -> None:
    path = changed(tmp_path, "  epochs: 120", "  epoch: 120")
    with pytest.raises(UserError) as caught:
        load_recipe(path)
    assert str(caught.value).startswith(f"{path}:{line_of(path, 'epoch:')}: Global.epoch: ")


def test_what_a_recipe_gives() -> None:
    recipe = load_recipe(SOP, ["Global.epochs=3", "AMP={}", "EMA={}"])
    assert recipe.global_.epochs == 3
    assert recipe.global_.image_shape == [3, 224, 224]
    assert recipe.global_.seed is None
    assert recipe.global_.eval_mode == "retrieval"
    assert recipe.amp is not None
    assert recipe.amp.use_amp, "a section without the key turns it on, as in the reference"
    assert recipe.ema is not None
    assert recipe.ema.decay == 0.9999
    assert isinstance(recipe.arch, Section)
    assert recipe.arch["Head"]["margin"] == 0.15
    assert [next(iter(entry)) for entry in recipe.loss_train] == ["CELoss", "TripletLossV2"]
    assert isinstance(recipe.loss_train, SectionList)
    assert recipe.optimizer["lr"]["milestones"] == [30, 60, 70, 80, 90, 100]
    assert recipe.data is not None
    assert recipe.data.Train is not None
    assert recipe.data.Train["sampler"]["sample_per_id"] == 2
    assert [next(iter(entry)) for entry in recipe.metrics_eval] == ["Recallk", "mAP"]
    assert recipe.name == str(SOP)


def test_sections_that_are_not_given() -> None:
    recipe = Recipe.from_dict({"Global": {"epochs": 1}, "AMP": None, "EMA": None})
    assert recipe.amp is None
    assert recipe.ema is None
    assert recipe.data is None
    assert recipe.arch == {}
    assert recipe.loss_train == []
    assert Recipe.from_dict({}).global_ == Global.model_validate({})
    assert Recipe.from_dict({"Global": None}).to_dict() == {}


def test_forms_of_eval() -> None:
    block = {"dataset": {"name": "VeriWild"}, "sampler": {"name": "DistributedBatchSampler"}}
    for accepted in (block, {"Query": block, "Gallery": block}, {"Query": block}, {"Test": block}):
        data = Recipe.from_dict({"DataLoader": {"Eval": accepted}}).data
        assert data is not None
        assert data.Eval == accepted
    for refused, said in (
        ({**block, "Query": block}, "both 'dataset' and 'Query'"),
        ({"loader": {}}, "needs 'Query' and 'Gallery', or 'dataset'"),
        ({"Query": block, "Test": block}, "needs 'Query' and 'Gallery', or a single block"),
    ):
        with pytest.raises(UserError, match=f"DataLoader.Eval: .*{said}"):
            Recipe.from_dict({"DataLoader": {"Eval": refused}})


@pytest.mark.parametrize("name", list_recipes())
def test_dump_loads_to_the_same_recipe(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name, ["seed=3", "Global.output_dir='a: b'"])
    path = tmp_path / "again.yaml"
    path.write_text(recipe.dump(), encoding="utf-8")
    again = load_recipe(path)
    assert again.to_dict() == recipe.to_dict()
    assert again.global_ == recipe.global_
    assert again.arch == recipe.arch
    assert yaml.safe_load(recipe.dump())["Global"]["seed"] == 3
    assert "&" not in recipe.dump().replace("a: b", "")


def test_a_changed_setting_is_in_the_dump() -> None:
    recipe = load_recipe(SOP)
    recipe.global_.pretrained_model = "output/RecModel/best_model"
    assert "pretrained_model: output/RecModel/best_model" in recipe.dump()


def test_the_given_dict_stays_as_it_was() -> None:
    values: dict[str, Any] = {
        "Global": {"checkpoint": "x", "use_dali": True},
        "Loss": {"Train": [{"CELoss": {}}]},
    }
    before = copy.deepcopy(values)
    recipe = Recipe.from_dict(values, ["Loss.Train[0].CELoss.weight=2"])
    assert values == before
    assert recipe.loss_train == [{"CELoss": {"weight": 2}}]


def test_copies_keep_their_places() -> None:
    arch = load_recipe(SOP).arch
    for copied in (copy.deepcopy(arch), pickle.loads(pickle.dumps(arch))):
        assert copied == arch
        assert copied["Head"] is not arch["Head"]
        assert copied["Head"].place_of("margin") == arch["Head"].place_of("margin")


def test_other_names_of_keys() -> None:
    recipe = Recipe.from_dict(
        {"Global": {"checkpoint": "output/RecModel/latest", "use_visualdl": False, "cpu_num_threads": 3}}
    )
    assert recipe.global_.checkpoints == "output/RecModel/latest"
    assert recipe.global_.tensorboard is False
    assert recipe.global_.use_visualdl is False
    assert recipe.global_.num_threads == 3
    assert Recipe.from_dict({"Global": {"checkpoints": None, "checkpoint": "x"}}).global_.checkpoints == "x"
    assert Recipe.from_dict({"Global": {"checkpoints": "x", "checkpoint": None}}).global_.checkpoints == "x"
    with pytest.raises(UserError, match="are one key with two values"):
        Recipe.from_dict({"Global": {"checkpoints": "x", "checkpoint": "y"}})
    with pytest.raises(UserError, match="unknown key 'checkpont', did you mean 'checkpoint"):
        Recipe.from_dict({"Global": {"checkpont": "x"}})


def test_texts_for_values() -> None:
    settings = Recipe.from_dict(
        {
            "Global": {"eval_during_train": "False", "epochs": "12", "image_shape": ["3", 8, 8]},
            "EMA": {"decay": "1 - 1.0/1000", "warmup": "off"},
        }
    )
    assert settings.global_.eval_during_train is False
    assert settings.global_.epochs == 12
    assert settings.global_.image_shape == [3, 8, 8]
    assert settings.ema is not None
    assert settings.ema.warmup is False
    assert settings.ema.decay == pytest.approx(0.999)


def test_keys_without_meaning_are_named_once(warnings: list[str]) -> None:
    values = {
        "Global": {"use_dali": True, "to_static": False, "log_ranks": "0", "warmup_iter": None},
        "profiler_options": "batch_range=[1,2]",
        "Infer": {"infer_imgs": "x.jpg"},
    }
    Recipe.from_dict(values)
    Recipe.from_dict(values)
    assert len(warnings) == 4
    for key in ("Global.use_dali", "Global.log_ranks", "profiler_options", "Infer"):
        assert sum(message.startswith(f"{key}: has no effect: ") for message in warnings) == 1


def test_parts_without_effect_are_told_once_where_they_ask_for_something(warnings: list[str]) -> None:
    values = {
        "Global": {"sim_block_size": 32},
        "AMP": {"use_promote": True},
        "Arch": {
            "is_rec": True,
            "Backbone": {"name": "ResNet50"},
            "BackboneStopLayer": {"name": "flatten", "output_dim": 2048},
        },
        "Metric": {"Train": [{"TopkAcc": {"topk": [1, 5]}}], "Eval": [{"Recallk": {"topk": [1]}}]},
    }
    Recipe.from_dict(values)
    Recipe.from_dict(values)
    told = [message.partition(": has no effect: ") for message in warnings]
    assert all(reason for _, _, reason in told)
    assert sorted(place for place, _, _ in told) == [
        "AMP.use_promote",
        "Arch.BackboneStopLayer.output_dim",
        "Arch.is_rec",
        "Global.sim_block_size",
        "Metric.Train",
    ]
    Recipe.from_dict({"Metric": {"Train": None}, "AMP": {"use_promote": False}})
    Recipe.from_dict({"Global": {"sim_block_size": 32, "reference_behaviour": True}})
    assert len(warnings) == 5


def test_the_class_number_of_the_head_is_used(warnings: list[str]) -> None:
    head = {"name": "ArcMargin", "embedding_size": 512, "class_num": 431}
    arch = {"name": "RecModel", "Backbone": {"name": "ResNet50"}, "Head": head}
    Recipe.from_dict({"Global": {"class_num": 30671}, "Arch": arch})
    assert len(warnings) == 1
    assert "Global.class_num: is 30671, but Arch.Head.class_num is 431: the head's 431 is used" in warnings[0]
    Recipe.from_dict({"Global": {"class_num": 431}, "Arch": arch})
    assert len(warnings) == 1


def test_a_list_of_optimizers() -> None:
    entries = [{"Adam": {"scope": "RecModel"}}, {"SGD": {"scope": "CenterLoss"}}]
    assert Recipe.from_dict({"Optimizer": entries}).optimizer == entries
    with pytest.raises(UserError, match=r"Optimizer: expected one optimizer"):
        Recipe.from_dict({"Optimizer": [{"Adam": {}, "SGD": {}}]})


DISTILLATION = """
Global:
  epochs: 1
Arch:
  name: DistillationModel
  is_rec: True
  class_num: 5
  freeze_params_list: [False, False]
  pretrained_list:
  models:
    - Teacher:
        name: ResNet50
        class_num: 5
    - Student:
        name: RecModel
        Backbone: {name: PPLCNet_x0_25}
        BackboneStopLayer: {name: flatten}
        Neck:
          - GeM:
          - FC: {embedding_size: 4, class_num: 2}
        infer_output_key: neck
"""


def test_several_models(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "dml.yaml"
    file.write_text(DISTILLATION)
    recipe = load_recipe(file)
    assert recipe.is_distillation
    assert list(recipe.networks) == ["Teacher", "Student"]
    assert recipe.networks["Teacher"] == {"Backbone": {"name": "ResNet50", "class_num": 5}}
    assert recipe.network == recipe.networks["Student"]
    assert recipe.network.place_of("Neck").path == "Arch.models[1].Student.Neck"
    assert str(recipe.network.place_of("Neck")).startswith(f"{file}:18: ")
    assert f"{file}:7: Arch.class_num: has no effect" in caplog.text
    other = load_recipe(file, ["Arch.infer_model_name=Teacher", "Arch.infer_output_key=backbone"])
    assert other.network == {**recipe.networks["Teacher"], "infer_output_key": "backbone"}
    assert (
        load_recipe(file, ["Arch.models.1.Student.infer_output_key=backbone"]).network["infer_output_key"]
        == "backbone"
    )
    single = Recipe.from_dict({"Arch": {"Backbone": {"name": "ResNet50"}}})
    assert not single.is_distillation
    assert (single.network, list(single.networks)) == (single.arch, [""])
    assert Recipe.from_dict({}).networks == {}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "        name: RecModel",
            "        nmae: RecModel",
            "Arch.models[1].Student.nmae: unknown key 'nmae', did you mean 'name'? ",
        ),
        (
            "  models:",
            "  modles:",
            "Arch.modles: unknown key 'modles', did you mean 'models'?",
        ),
        (
            "  is_rec: True",
            "  Backbone: {name: ResNet50}",
            "Arch.Backbone: unknown key 'Backbone'. (accepts: name, models,",
        ),
        ("    - Teacher:", "    - Teacher: 3\n      Other:", "Arch.models[0].Teacher: expected a backbone"),
        (
            "freeze_params_list: [False, False]",
            "freeze_params_list: 3",
            "Arch.freeze_params_list: must be a list",
        ),
        (
            "        infer_output_key: neck",
            "        head_feature_from: head",
            "Student.head_feature_from: must be one of 'neck' or 'backbone'",
        ),
        (
            "{name: flatten}",
            "{nmae: flatten}",
            "Arch.models[1].Student.BackboneStopLayer.nmae: unknown key 'nmae', did you mean 'name'?",
        ),
    ],
)
def test_mistakes_inside_several_models(tmp_path: Path, old: str, new: str, message: str) -> None:
    file = tmp_path / "dml.yaml"
    file.write_text(DISTILLATION.replace(old, new))
    with pytest.raises(UserError) as caught:
        load_recipe(file)
    assert message in str(caught.value)
