"""train, eval and export, from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

from lookalike import Embedder
from lookalike.core.log import forget_warnings
from tests.cli.conftest import Command


def test_train_eval_export_go_hand_in_hand(command: Command, recipe_file: Path, tmp_path: Path) -> None:
    trained = command("train", "-c", recipe_file, "-o", "Global.epochs=1", "--json").json()
    best = tmp_path / "out" / "RecModel" / "best_model"
    assert trained["folder"] == str(best.parent)
    assert trained["epochs"] == 1
    assert set(trained["metrics"]) == {"recall1", "recall2", "mAP"}

    scored = command("eval", "-c", recipe_file, "-o", f"Global.pretrained_model={best}", "--json")
    values = scored.json()
    assert values["metrics"] == trained["metrics"]
    assert all(0 <= value <= 1 for value in values["metrics"].values())
    assert (values["queries"], values["gallery"]) == (9, 15)

    words = ("-o", f"pretrained_model={best}", "-o", f"save_inference_dir={tmp_path / 'model'}", "--json")
    exported = command("export", "-c", recipe_file, *words).json()
    assert exported["size"] == 16
    assert exported["largest_difference"] < 1e-4
    assert Embedder(exported["folder"]).fingerprint == exported["fingerprint"]

    # once more into the folder that is there: the log goes on, the checkpoints are those of the new run
    again = command("train", "-c", recipe_file, "-o", "epochs=1", "-o", "seed=5")
    assert again.code == 0
    assert again.out.splitlines()[-2] == str(best.parent)
    assert again.out.splitlines()[-1].endswith(f"-o Global.pretrained_model={best}")
    assert "recall1 " in again.out
    log = (best.parent / "train.log").read_text(encoding="utf-8")
    assert log.count("[Train][Epoch 1/1][Avg]") == 2
    assert json.loads((best.parent / "latest/state/training.json").read_text())["epoch"] == 2
    assert not [p.name for p in best.parent.iterdir() if p.name.startswith(".")]


def test_progress_goes_to_stderr(command: Command, recipe_file: Path, checkpoint: Path) -> None:
    told = command("eval", "-c", recipe_file, "-o", f"Global.pretrained_model={checkpoint}")
    assert told.out.splitlines()[0].startswith("recall1 ")
    assert "9 queries, 15 gallery pictures" in told.out


def test_sections_of_a_deployment_are_warned_of_once(command: Command, recipe_file: Path) -> None:
    text = recipe_file.read_text("utf-8")
    deployment = "IndexProcess: {return_k: 5}\nRecPostProcess: {Binarize: {method: sign}}\n"
    recipe_file.write_text(text + deployment, encoding="utf-8")
    forget_warnings()
    told = command("eval", "-c", recipe_file)
    assert told.code == 0
    assert told.err.count("IndexProcess: has no effect") == 1
    assert told.err.count("RecPostProcess: has effect on 'lookalike embed' only") == 1


def test_eval_of_random_weights_says_so(command: Command, recipe_file: Path) -> None:
    result = command("eval", "-c", recipe_file)
    assert result.code == 0
    assert "random ones are scored" in result.err


def test_export_of_random_weights_is_refused(command: Command, recipe_file: Path) -> None:
    assert "the weights would be random" in command("export", "-c", recipe_file).sentence()


def test_export_of_what_was_there_before_training_is_refused(
    command: Command, recipe_file: Path, trained: Path
) -> None:
    """A forgotten pretrained_model would put the network before training in the place of the trained one."""
    words = ("-o", "Arch.Backbone.pretrained=True", "-o", f"Global.output_dir={trained}")
    told = command("export", "-c", recipe_file, *words)
    assert told.code == 2
    assert "not the trained weights; name them with -o Global.pretrained_model=" in told.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["-o", "Global.pretrained_model=nowhere/best_model"], "nowhere/best_model"),
        (["-o", "Global.pretrained_modl=x"], "did you mean 'pretrained_model'"),
        (["-o", "Global.epochs"], "Global.epochs"),
        (["-o", "Global.epochs=many"], "many"),
        (["-o", "Arch.Neck.size=3"], "size"),
        (["-o", "Loss.Train[1].TripletLossV2.margn=1"], "did you mean 'margin'"),
        (
            ["-o", "Global.pretrained_model", "=", "x"],
            "without spaces around '=': -o Global.pretrained_model=x",
        ),
        (["--colour"], "--colour"),
        (["more"], "more"),
    ],
)
def test_mistakes_are_one_sentence(command: Command, recipe_file: Path, words: list[str], told: str) -> None:
    assert told in command("train", "-c", recipe_file, *words).sentence()


def test_a_missing_recipe_or_list_is_one_sentence(
    command: Command, recipe_file: Path, tmp_path: Path
) -> None:
    assert "nowhere.yaml" in command("train", "-c", tmp_path / "nowhere.yaml").sentence()
    assert "-c" in command("train").sentence()
    missing = f"DataLoader.Train.dataset.cls_label_path={tmp_path / 'gone.txt'}"
    assert "gone.txt" in command("train", "-c", recipe_file, "-o", missing).sentence()


def test_a_broken_recipe_is_one_sentence(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text("Global:\n  epochs: [1\nArch: {", encoding="utf-8")
    assert "broken.yaml" in command("train", "-c", file).sentence()
    file.write_bytes(b"\x00\x01\xff")
    assert "broken.yaml" in command("train", "-c", file).sentence()


def test_a_run_that_diverges_fails_with_1(command: Command, recipe_file: Path) -> None:
    told = command("train", "-c", recipe_file, "-o", "Optimizer.lr={name: Constant, learning_rate: 1.0e30}")
    assert " became " in told.sentence(code=1)


def test_weights_that_are_damaged_are_one_sentence(
    command: Command, recipe_file: Path, checkpoint: Path, tmp_path: Path
) -> None:
    content = (checkpoint / "model.safetensors").read_bytes()
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(content[: len(content) // 2])
    told = command("eval", "-c", recipe_file, "-o", f"Global.pretrained_model={damaged}").sentence()
    assert "damaged.safetensors" in told
    assert load_file(checkpoint / "model.safetensors")
