"""Values from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lookalike.core.errors import UserError
from lookalike.recipe import Recipe, apply_overrides, load_recipe
from lookalike.recipe.reading import read_text
from lookalike.recipe.tree import plain

RECIPE = """
Global:
  epochs: 8
  output_dir: ./output
Loss:
  Train:
    - CELoss:
        weight: 1.0
    - TripletLossV2:
        margin: 0.5
Metric:
  Eval:
    - Recallk: {topk: [1, 5]}
    - mAP:
"""


def overridden(*texts: str) -> dict[str, Any]:
    tree = read_text(RECIPE, "r.yaml")
    apply_overrides(tree, texts)
    return plain(tree)


def error_of(*texts: str) -> str:
    with pytest.raises(UserError) as caught:
        Recipe.from_dict(read_text(RECIPE, "r.yaml"), texts)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("1e-3", 0.001),
        ("null", None),
        ("None", None),
        ("", None),
        ("true", True),
        ("True", True),
        ("False", False),
        ("off", False),
        ("[1, 2]", [1, 2]),
        ("(1, 2)", [1, 2]),
        ("{a: 1}", {"a": 1}),
        ("output/x y", "output/x y"),
        ("'quoted'", "quoted"),
        ('"output/RecModel/best_model"', "output/RecModel/best_model"),
        ("'None'", "None"),
        ("'3'", "3"),
        ("https://host/x?a=b&c=d", "https://host/x?a=b&c=d"),
        ("1.0/255.0", "1.0/255.0"),
        ("*.jpg", "*.jpg"),
        ("@name", "@name"),
        ("a: b: c", "a: b: c"),
    ],
)
def test_values_are_yaml(text: str, value: Any) -> None:
    assert overridden(f"Global.output_dir={text}")["Global"]["output_dir"] == value


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('touch hacked')",
        "open('hacked','w')",
        "!!python/object/apply:os.system ['touch hacked']",
        "str.__class__",
    ],
)
def test_nothing_is_evaluated(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert overridden(f"Global.output_dir={text}")["Global"]["output_dir"] == text
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", ["Loss.Train.1.TripletLossV2.margin", "Loss.Train[1].TripletLossV2.margin"])
def test_list_indices(path: str) -> None:
    assert overridden(f"{path}=0.25")["Loss"]["Train"][1] == {"TripletLossV2": {"margin": 0.25}}


def test_a_whole_entry() -> None:
    assert overridden("Loss.Train[0]={TripletLoss: {margin: 1}}")["Loss"]["Train"][0] == {
        "TripletLoss": {"margin": 1}
    }
    assert overridden("Metric.Eval[1].mAP.a=1")["Metric"]["Eval"][1] == {"mAP": {"a": 1}}


def test_a_key_alone_is_one_of_global() -> None:
    read = overridden("eval_during_train=False", "rec_inference_model_dir=../inference", "AMP={level: O1}")
    assert read["Global"]["eval_during_train"] is False
    assert read["Global"]["rec_inference_model_dir"] == "../inference"
    assert read["AMP"] == {"level": "O1"}


def test_sections_that_are_not_there_yet() -> None:
    assert overridden("AMP.use_amp=true")["AMP"] == {"use_amp": True}


def test_later_ones_win() -> None:
    assert overridden("epochs=3", "Global.epochs=4")["Global"]["epochs"] == 4


@pytest.mark.parametrize(
    ("texts", "right"),
    [
        (("Global.pretrained_model", "=", "output/x"), "-o Global.pretrained_model=output/x"),
        (("Global.pretrained_model", "=output/x"), "-o Global.pretrained_model=output/x"),
        (("Global.pretrained_model=", "output/x"), "-o Global.pretrained_model=output/x"),
        (("Global.pretrained_model = output/x",), "-o Global.pretrained_model=output/x"),
        (("Global.pretrained_model= output/x",), "-o Global.pretrained_model=output/x"),
        (("Global.pretrained_model = a b",), "-o 'Global.pretrained_model=a b'"),
    ],
)
def test_spaces_around_the_equals_sign(texts: tuple[str, ...], right: str) -> None:
    message = error_of(*texts)
    assert "no spaces may stand around '='" in message
    assert message.endswith(right)


def test_a_word_without_an_equals_sign() -> None:
    assert error_of("Global.pretrained_model") == (
        "-o Global.pretrained_model: there is no '='; write -o Global.pretrained_model=VALUE, with no spaces"
    )


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("=3", ["no key before '='"]),
        ("Globl.epochs=3", ["unknown section 'Globl'", "did you mean 'Global'?"]),
        ("epoch=3", ["'epoch'", "did you mean 'epochs'?"]),
        ("Global.epoch=3", ["-o: Global.epoch: unknown key 'epoch', did you mean 'epochs'?"]),
        ("Global.epochs=many", ["-o: Global.epochs: must be a whole number, got 'many'"]),
        ("Loss.Train.7.CELoss.weight=1", ["-o: Loss.Train: has no entry 7", "0: CELoss, 1: TripletLossV2"]),
        ("Loss.Train.CELoss.weight=1", ["Loss.Train: is a list, 'CELoss' is no index", "0: CELoss"]),
        (
            "Loss.Train[0].CELos.weight=1",
            ["-o: Loss.Train[0]: is CELoss and has no entry 'CELos', did you mean"],
        ),
        (
            "Loss.Train[0].X=1",
            ["is CELoss and has no entry 'X'. (its arguments: ", "'Loss.Train[0]={X: {…}}')"],
        ),
        ("Loss.Train[x].CELoss=1", ["'[x]' is not an index"]),
        ("Loss.Train[-1].CELoss=1", ["'[-1]' is not an index"]),
        ("Global..epochs=1", ["is not a path of keys"]),
        ("Global.epochs[=1", ["is not a path of keys"]),
        ("Global.epochs.x=1", ["-o: Global.epochs: is 8 and has no entry 'x'"]),
        ("Global.output_dir=[1, 2", ["not valid YAML"]),
        ("Global.output_dir='a", ["not valid YAML"]),
    ],
)
def test_mistakes(text: str, parts: list[str]) -> None:
    message = error_of(text)
    for part in parts:
        assert part in message


def test_the_place_of_an_overridden_value_is_the_command_line() -> None:
    recipe = Recipe.from_dict(
        read_text(RECIPE, "r.yaml"), ["Loss.Train[0].CELoss.weight=2", "Loss.Train[1]={A: {b: 1}}"]
    )
    assert str(recipe.loss_train[0]["CELoss"].place_of("weight")) == "-o: Loss.Train[0].CELoss.weight"
    assert str(recipe.loss_train[1]["A"].place) == "-o: Loss.Train[1].A"
    assert str(recipe.loss_train.place_of(0)) == "r.yaml:7: Loss.Train[0]"


def test_one_use_of_an_anchor_is_changed() -> None:
    recipe = load_recipe("product/sop", ["DataLoader.Eval.Query.dataset.image_root=mine"])
    assert recipe.data is not None
    assert recipe.data.Eval is not None
    assert recipe.data.Eval["Query"]["dataset"]["image_root"] == "mine"
    assert recipe.data.Eval["Gallery"]["dataset"]["image_root"] != "mine"
