"""What a run writes, and how it ends when something is wrong."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from lookalike import Recipe, evaluate, train
from lookalike.core.errors import LookalikeError, UserError
from lookalike.core.log import forget_warnings
from lookalike.training import assembly
from lookalike.training.precision import StaticScaler
from lookalike.training.trainer import Trainer
from tests.tiny import recipe_values


def _values(pictures: Path, output: Path, **settings: Any) -> dict[str, Any]:
    values = recipe_values(pictures, output)
    values["Global"] |= settings
    return values


def test_files_of_a_run(pictures: Path, tmp_path: Path) -> None:
    values = _values(pictures, tmp_path, save_interval=1, tensorboard=True)
    result = train(Recipe.from_dict(values))
    folder = tmp_path / "RecModel"
    assert sorted(p.name for p in folder.iterdir()) == [
        "best_model", "epoch_1", "epoch_2", "latest", "tensorboard", "train.log",
    ]  # fmt: skip
    log = (folder / "train.log").read_text()
    assert "[Train][Epoch 1/2][Iter: 2/6]lr: " in log
    assert "CELoss: " in log
    assert "TripletLossV2: " in log
    assert "[Eval][Epoch 2][Avg]recall1: " in log
    assert set(result.metrics) == {"recall1", "recall2", "mAP"}
    assert list((folder / "tensorboard").iterdir())


def test_best_model_scores_what_the_run_told(pictures: Path, tmp_path: Path) -> None:
    result = train(Recipe.from_dict(_values(pictures, tmp_path)))
    recipe = Recipe.from_dict(
        _values(pictures, tmp_path, pretrained_model=str(tmp_path / "RecModel" / "best_model"))
    )
    assert evaluate(recipe).metrics["recall1"] == result.best_metric


def test_without_online_evaluation_the_end_is_scored_once(
    pictures: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "lookalike"):
        result = train(Recipe.from_dict(_values(pictures, tmp_path, eval_during_train=False)))
    assert sum("[Eval]" in record.message for record in caplog.records) == 1
    assert result.metrics
    latest, best = (
        load_file(tmp_path / "RecModel" / name / "model.safetensors") for name in ("latest", "best_model")
    )
    assert all(torch.equal(latest[name], best[name]) for name in latest)
    for name in ("latest", "best_model"):  # for the model card
        kept = json.loads((tmp_path / "RecModel" / name / "state/score.json").read_text())
        assert kept == {"metrics": result.metrics}


def test_validation_spares_the_benchmark_for_the_end(
    pictures: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    values = _values(pictures, tmp_path, eval_mode="retrieval")
    values["DataLoader"]["Validation"] = {"Query": values["DataLoader"]["Eval"]["Gallery"]}
    with caplog.at_level(logging.INFO, "lookalike"):
        result = train(Recipe.from_dict(values))
    told = [record.message.split("]")[2] for record in caplog.records if "[Eval]" in record.message]
    assert told == ["[Validation", "[Validation", "[Final, best_model"]
    kept = json.loads((tmp_path / "RecModel/best_model/state/score.json").read_text())
    assert kept == {"metrics": result.metrics}


def test_nan_stops_and_keeps_the_last_good_checkpoint(pictures: Path, tmp_path: Path) -> None:
    values = _values(pictures, tmp_path, epochs=3)
    values["Optimizer"]["lr"] = {"name": "Piecewise", "decay_epochs": [1], "values": [0.01, 1.0e30]}
    with pytest.raises(LookalikeError) as caught:
        train(Recipe.from_dict(values))
    message = str(caught.value)
    assert message.startswith(("CELoss became ", "TripletLossV2 became ")), message
    assert "epoch 2, batch " in message
    assert "RecModel/latest" in message
    weights = load_file(tmp_path / "RecModel/latest/model.safetensors")
    assert all(torch.isfinite(value).all() for value in weights.values() if value.is_floating_point())
    assert "became" in (tmp_path / "RecModel/train.log").read_text()


def test_labels_beyond_the_head_are_told_before_training(pictures: Path, tmp_path: Path) -> None:
    values = _values(pictures, tmp_path)
    values["Arch"]["Head"]["class_num"] = 4
    with pytest.raises(UserError, match=r"train\.txt:33: .*label 4.*class_num"):
        train(Recipe.from_dict(values))


def test_loss_eval_of_unseen_classes_is_named_once(
    pictures: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    values = _values(pictures, tmp_path)
    values["Loss"]["Eval"] = [{"CELoss": {"weight": 1.0}}]
    train(Recipe.from_dict(values))
    told = [record.message for record in caplog.records if "Loss.Eval is not applicable" in record.message]
    assert len(told) == 1


def test_loss_eval_of_training_classes_is_computed(pictures: Path, tmp_path: Path) -> None:
    values = _values(pictures, tmp_path)
    values["Loss"]["Eval"] = [{"CELoss": {"weight": 1.0}}]
    for part in values["DataLoader"]["Eval"].values():
        part["dataset"]["cls_label_path"] = str(pictures / "train.txt")
    train(Recipe.from_dict(values))
    assert "CELoss: " in next(
        line for line in (tmp_path / "RecModel/train.log").read_text().splitlines() if "[Eval]" in line
    )


def test_eval_computes_or_names_loss_eval(
    pictures: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    values = _values(pictures, tmp_path)
    values["Loss"]["Eval"] = [{"CELoss": {"weight": 1.0}}]

    def told() -> list[str]:
        found = [record.getMessage() for record in caplog.records if "Loss.Eval" in record.getMessage()]
        caplog.clear()
        forget_warnings()
        return found

    told()
    assert evaluate(Recipe.from_dict(values)).losses == {}
    (message,) = told()
    assert message.startswith("Loss.Eval is not applicable")
    for part in values["DataLoader"]["Eval"].values():
        part["dataset"]["cls_label_path"] = str(pictures / "train.txt")
        part["dataset"]["relabel"] = True
    found = evaluate(Recipe.from_dict(values))
    assert set(found.losses) == {"CELoss", "loss"}
    assert told() == []
    values["DataLoader"]["Train"]["dataset"]["cls_label_path"] = str(tmp_path / "elsewhere.txt")
    assert evaluate(Recipe.from_dict(values)).losses == {}
    (message,) = told()
    assert "cannot be decided" in message
    assert "elsewhere.txt" in message


def test_without_a_gpu_gpu_means_cpu_once_and_require_gpu_is_an_error(
    pictures: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if torch.cuda.is_available() or torch.backends.mps.is_available():
        pytest.skip("this machine has a GPU")
    train(Recipe.from_dict(_values(pictures, tmp_path, device="gpu", epochs=1)))
    assert sum("no usable GPU" in record.message for record in caplog.records) == 1
    with pytest.raises(UserError, match="a GPU is required"):
        train(Recipe.from_dict(_values(pictures, tmp_path, device="gpu", require_gpu=True)))


def test_bfloat16_autocast_trains(pictures: Path, tmp_path: Path) -> None:
    values = _values(pictures, tmp_path, epochs=1)
    values["AMP"] = {"use_amp": True, "dtype": "bfloat16"}
    assert train(Recipe.from_dict(values)).metrics


def test_iter_per_epoch_shortens_or_lengthens_an_epoch(pictures: Path, tmp_path: Path) -> None:
    assert train(Recipe.from_dict(_values(pictures, tmp_path, epochs=2, iter_per_epoch=2))).iterations == 4
    assert train(Recipe.from_dict(_values(pictures, tmp_path, epochs=1, iter_per_epoch=8))).iterations == 8


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"Global": {"eval_mode": "classification"}}, "eval_mode"),
        ({"Metric": {"Eval": [{"Recallk": {"topks": [1]}}]}}, "topks"),
        ({"Loss": {"Eval": [{"CELos": {"weight": 1.0}}]}}, "CELos"),
        ({"Arch": {"infer_output_key": "foo"}}, "infer_output_key is 'foo'"),
        ({"RecPreProcess": {"transform_ops": [{"ResizeImag": {"size": 32}}]}}, "ResizeImag"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_mistakes_that_would_show_at_the_end_are_told_at_the_start(
    pictures: Path, tmp_path: Path, change: dict[str, Any], sentence: str
) -> None:
    values = _values(pictures, tmp_path)
    for section, entries in change.items():
        values[section] = {**values.get(section, {}), **entries}
    with pytest.raises(UserError, match=sentence):
        train(Recipe.from_dict(values))
    assert not (tmp_path / "RecModel" / "latest").exists()


@pytest.mark.parametrize("dynamic", [False, True])
def test_scale_of_float16(dynamic: bool) -> None:
    """The scaler of a GPU run, tried on the CPU: a static scale stays, a dynamic one falls."""
    scaler = (torch.amp.GradScaler if dynamic else StaticScaler)("cpu", init_scale=128.0, enabled=True)
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    for factor in (1.0, float("inf"), 1.0):
        optimizer.zero_grad()
        scaler.scale((weight * factor).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
    assert scaler.get_scale() == (64.0 if dynamic else 128.0)
    assert float(weight.detach()) == pytest.approx(0.8)  # the update that overflowed was left out


def test_tiny_networks_get_one_thread_for_the_run_only(
    pictures: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    seen: list[int] = []
    own = Trainer._epoch

    def epoch(self: Trainer) -> int:
        seen.append(torch.get_num_threads())
        return own(self)

    monkeypatch.setattr(Trainer, "_epoch", epoch)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        train(Recipe.from_dict(_values(pictures, tmp_path / "tiny", epochs=1)))
        assert torch.get_num_threads() == 2
        monkeypatch.setattr(assembly, "SMALL_WORK", 1.0)
        train(Recipe.from_dict(_values(pictures, tmp_path / "large", epochs=1)))
    finally:
        torch.set_num_threads(before)
    assert seen == [1, 2]


def test_an_earlier_run_is_told_before_it_is_written_over(
    pictures: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train(Recipe.from_dict(_values(pictures, tmp_path, epochs=1)))
    assert "earlier run" not in caplog.text
    train(Recipe.from_dict(_values(pictures, tmp_path, epochs=1)))
    assert "holds the checkpoints of an earlier run" in caplog.text
    caplog.clear()
    wrong = _values(pictures, tmp_path, epochs=1)
    wrong["Loss"]["Train"] = [{"MatryoshkaLoss": {"loss": {"TripletLossV2": {}}, "sizes": [8, 99]}}]
    with pytest.raises(UserError, match=r"^Loss.*MatryoshkaLoss\.sizes: 99 is more than the 16 numbers of"):
        train(Recipe.from_dict(wrong))
    assert "earlier run" not in caplog.text


def test_a_resumed_run_names_what_changed(
    pictures: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train(Recipe.from_dict(_values(pictures, tmp_path, epochs=1)))
    values = _values(pictures, tmp_path, epochs=1, checkpoints=str(tmp_path / "RecModel/latest"))
    values["Optimizer"]["lr"]["learning_rate"] = 0.5
    train(Recipe.from_dict(values))
    assert "these keys changed: Optimizer.lr.learning_rate" in caplog.text
    assert "is trained to epoch 1 already and Global.epochs is 1" in caplog.text


def test_parts_that_do_not_fit_are_one_sentence(pictures: Path, tmp_path: Path) -> None:
    values = _values(pictures, tmp_path)
    values["Arch"]["Backbone"] = {"name": "Conv4", "pool": "none"}
    values["Arch"]["Neck"]["embedding_size"] = 77
    with pytest.raises(UserError, match=r"Neck \(FC\) takes 77 features, but .*Backbone \(Conv4\) gives 256"):
        train(Recipe.from_dict(values))
