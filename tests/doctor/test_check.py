"""`check`: a good recipe passes, and each mistake of a bad one is listed."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from lookalike.doctor import check_recipe
from lookalike.model.weights.sources import download
from tests.tiny import TRAIN_CLASSES, recipe_values


@pytest.fixture
def values(pictures: Path, tmp_path: Path) -> dict[str, Any]:
    made = recipe_values(pictures, tmp_path / "output")
    made["Arch"]["Backbone"] = {"name": "Conv4", "width": 32}
    return made


def checked(values: dict[str, Any], folder: Path, *overrides: str, full: bool = False) -> Any:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return check_recipe(path, overrides, full)


def a_list(folder: Path, part: str) -> list[str]:
    return (folder / f"{part}.txt").read_text(encoding="utf-8").splitlines()


def put_list(values: dict[str, Any], part: str, folder: Path, lines: list[str]) -> None:
    file = folder / f"{part}-changed.txt"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    data = values["DataLoader"]
    block = data["Train"] if part == "train" else data["Eval"][part.capitalize()]
    block["dataset"]["cls_label_path"] = str(file)


def test_a_good_recipe(values: dict[str, Any], tmp_path: Path) -> None:
    report = checked(values, tmp_path)
    assert report.problems == []
    assert report.memory_mb > sum(report.memory[name] for name in ("parameters", "gradients"))
    assert report.memory["activations"] > 0
    assert report.seconds > report.seconds_per_epoch > 0
    text = report.text()
    for word in ("✓", "batches", "embedding of 16 numbers", "Cosine", "open set", "an epoch"):
        assert word in text
    assert json.loads(json.dumps(report.to_dict()))["ok"] is True
    assert sorted(path.name for path in tmp_path.iterdir()) == ["recipe.yaml"], "check writes nothing"


def test_memory_counts_what_it_says(values: dict[str, Any], tmp_path: Path) -> None:
    from lookalike.model import build_model

    values["EMA"] = {"decay": 0.9}
    report = checked(values, tmp_path)
    numbers = sum(parameter.numel() for parameter in build_model(values["Arch"]).parameters())
    megabytes = 4 * numbers / 2**20
    assert report.memory["parameters"] == pytest.approx(megabytes, abs=0.1)
    assert report.memory["optimizer"] == pytest.approx(megabytes, abs=0.1)  # one momentum a parameter
    assert report.memory["ema"] == pytest.approx(megabytes, abs=0.1)
    larger = checked(values, tmp_path, "DataLoader.Train.sampler.batch_size=12")
    assert larger.memory["activations"] == pytest.approx(1.5 * report.memory["activations"], rel=0.1)


def test_all_mistakes_are_listed(values: dict[str, Any], tmp_path: Path) -> None:
    values["Global"]["epoch"] = 3
    values["Global"]["eval_interval"] = "often"
    values["Loss"]["Train"][1] = {"TripletLossV2": {"margn": 0.3}}
    values["Optimizer"]["lr"]["name"] = "Cosinus"
    values["Metric"]["Eval"][0] = {"Recalk": {"topk": [1]}}
    values["DataLoader"]["Train"]["dataset"]["transform_ops"][0] = {"RandCropImage": {"sise": 32}}
    values["DataLoader"]["Train"]["loader"]["num_worker"] = 1
    values["Arch"]["Head"]["embedding_size"] = 24
    values["DataLoader"]["Eval"]["Query"]["dataset"]["cls_label_path"] = "nowhere/query.txt"
    report = checked(values, tmp_path)
    told = "\n".join(report.problems)
    assert not report.ok
    for word in (
        "'epoch', did you mean 'epochs'",
        "Global.eval_interval",
        "'margn', did you mean 'margin'",
        "Cosinus",
        "Recalk",
        "'sise', did you mean 'size'",
        "'num_worker', did you mean 'num_workers'",
        "takes 24 features",
        "-o DataLoader.Eval.Query.dataset.cls_label_path=",
    ):
        assert word in told, word
    assert told.count("epochs'?") == 1


@pytest.mark.parametrize(
    "optimizer", [{"backbone_lr_multiplier": 0.1}, {"layer_decay": 0.8}, {"scope": "backbone"}]
)
def test_nothing_is_said_of_the_parameters_of_a_model_that_cannot_be_built(
    values: dict[str, Any], tmp_path: Path, optimizer: dict[str, Any]
) -> None:
    values["Optimizer"].update({"name": "AdamW", "weight_decay": 0.05} | optimizer)
    values["Optimizer"].pop("momentum", None)
    values["Optimizer"].pop("regularizer", None)
    values["Arch"]["Head"]["embedding_size"] = 24
    report = checked(values, tmp_path)
    (problem,) = report.problems
    assert "takes 24 features" in problem
    assert not any("scope" in warning for warning in report.warnings)
    values["Optimizer"]["lr"]["name"] = "Cosinus"
    assert "Cosinus" in checked(values, tmp_path).problems[1]


def test_labels_beyond_the_head(values: dict[str, Any], pictures: Path, tmp_path: Path) -> None:
    lines = a_list(pictures, "train")
    lines[3] = lines[3].split("\t")[0] + "\t9"
    put_list(values, "train", tmp_path, lines)
    (problem,) = checked(values, tmp_path).problems
    assert "train-changed.txt:4: label 9 does not fit class_num 6" in problem


def test_classes_without_pictures(values: dict[str, Any], tmp_path: Path) -> None:
    report = checked(values, tmp_path, f"Arch.Head.class_num={TRAIN_CLASSES + 2}")
    assert report.ok
    assert any("2 of the classes have no training picture (labels 6, 7)" in text for text in report.warnings)


def test_a_batch_that_does_not_fit_the_classes(values: dict[str, Any], tmp_path: Path) -> None:
    report = checked(values, tmp_path, "DataLoader.Train.sampler.batch_size=16")
    assert any("needs 8 identities, and the set has 6" in text for text in report.problems)
    report = checked(values, tmp_path, "Global.iter_per_epoch=1", "Global.update_freq=2")
    assert any("an epoch has 1 batches, too few for one update" in text for text in report.problems)


def test_neck_and_head_that_do_not_fit(values: dict[str, Any], tmp_path: Path) -> None:
    report = checked(values, tmp_path, "Arch.Neck.embedding_size=48")
    assert any("takes 48 features" in text and "gives 32" in text for text in report.problems)
    report = checked(values, tmp_path, "Arch.BackboneStopLayer.name=flaten")
    assert any("flaten" in text for text in report.problems)


@pytest.mark.parametrize(
    ("loss", "told"),
    [
        ({"TripletLossV2": {}}, "64 is more than the 16 numbers of 'features'"),
        ({"TripletLossV2": {"feature_from": "backbone"}}, "64 is more than the 32 numbers of 'backbone'"),
        ({"CELoss": {}}, "4, 64: the model gives no class scores of so many first numbers; write the same"),
    ],
)
def test_sizes_that_the_model_does_not_give(
    values: dict[str, Any], tmp_path: Path, loss: dict[str, Any], told: str
) -> None:
    values["Loss"]["Train"] = [{"MatryoshkaLoss": {"loss": loss, "sizes": [4, 64]}}]
    (problem,) = checked(values, tmp_path).problems
    lines = (tmp_path / "recipe.yaml").read_text(encoding="utf-8").splitlines()
    line = next(number for number, text in enumerate(lines, 1) if "sizes:" in text)
    assert problem.startswith(
        f"{tmp_path / 'recipe.yaml'}:{line}: Loss.Train[0].MatryoshkaLoss.sizes: {told}"
    )
    values["Arch"]["Head"]["sizes"] = [4, 64]
    (problem,) = [text for text in checked(values, tmp_path).problems if "embedding_size" in text]
    assert re.search(r"recipe\.yaml:\d+: Arch\.Head: ArcMargin\.sizes: 64 is more than embedding", problem)


def test_a_recipe_for_export_alone_lacks_nothing(values: dict[str, Any], tmp_path: Path) -> None:
    used = {key: values[key] for key in ("Global", "Arch")}
    report = checked(used, tmp_path)
    assert report.problems == []
    assert "it is for export and use" in report.text()
    report = checked(used | {"Loss": values["Loss"]}, tmp_path)
    assert any("there is no DataLoader.Train" in text for text in report.problems)


def test_a_leak(values: dict[str, Any], pictures: Path, tmp_path: Path) -> None:
    train, query = a_list(pictures, "train"), a_list(pictures, "query")
    source = pictures / "pictures" / train[0].split("\t")[0]
    (tmp_path / "copy.png").write_bytes(source.read_bytes())
    put_list(values, "query", tmp_path, [*query, f"{tmp_path / 'copy.png'}\t6"])
    report = checked(values, tmp_path)
    (problem,) = report.problems
    assert "1 file is both in Train and in Eval.Query" in problem
    assert "train.txt:1 and " in problem
    assert f"query-changed.txt:{len(query) + 1}" in problem


def test_a_leak_of_less_than_one_in_a_hundred_is_told_and_borne(
    values: dict[str, Any], pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, query = a_list(pictures, "train"), a_list(pictures, "query")
    put_list(values, "query", tmp_path, [*query, train[0].split("\t")[0] + "\t6"])
    monkeypatch.setattr("lookalike.doctor.pictures.NO_MATTER", 1 / len(query))
    report = checked(values, tmp_path)
    assert report.problems == []
    assert "! copies" in report.text()
    assert "1 file is both in Train and in Eval.Query" in report.text()


def test_a_rehearsal_on_made_up_pictures_does_not_judge_the_rate(
    values: dict[str, Any], tmp_path: Path
) -> None:
    values["DataLoader"]["Train"]["dataset"]["image_root"] = str(tmp_path / "nowhere")
    values["Optimizer"]["lr"] = {"name": "Constant", "learning_rate": 1e30}
    report = checked(values, tmp_path)
    assert [problem for problem in report.problems if "nowhere" not in problem] == []
    assert "not finite on made-up pictures" in report.text()


def test_missing_and_broken_pictures(values: dict[str, Any], pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"nothing")
    lines = [*a_list(pictures, "train"), f"{tmp_path / 'broken.png'}\t0", "class 0/none.png\t0"]
    put_list(values, "train", tmp_path, lines)
    (problem,) = checked(values, tmp_path).problems
    assert "2 of 50 pictures are missing or broken, more than max_broken_share (0.01) allows" in problem
    assert "train-changed.txt:49: " in problem
    assert "train-changed.txt:50: " in problem
    values["DataLoader"]["Train"]["dataset"]["max_broken_share"] = 0.1
    report = checked(values, tmp_path, full=True)
    assert report.ok, report.text()
    assert any("training leaves them out" in text for text in report.warnings)


def test_queries_that_nothing_answers(values: dict[str, Any], pictures: Path, tmp_path: Path) -> None:
    gallery = [line for line in a_list(pictures, "gallery") if not line.endswith("\t6")]
    put_list(values, "gallery", tmp_path, gallery)
    report = checked(values, tmp_path)
    assert report.ok
    assert any("3 of 9 queries have no other picture of their class" in text for text in report.warnings)
    put_list(values, "gallery", tmp_path, [line.split("\t")[0] + "\t40" for line in gallery])
    report = checked(values, tmp_path)
    assert any("there is nothing to score" in text for text in report.problems)


def test_what_only_shows_when_it_runs(values: dict[str, Any], tmp_path: Path) -> None:
    values["Loss"]["Train"][1]["TripletLossV2"]["feature_from"] = "nek"
    report = checked(values, tmp_path)
    assert any("reads the model's output 'nek'" in text for text in report.problems)


def test_doubtful_settings(values: dict[str, Any], tmp_path: Path) -> None:
    values["Optimizer"]["lr"]["warmup_epoch"] = 5
    values["DataLoader"]["Train"]["loader"]["use_dali"] = True
    values["Global"]["image_shape"] = [3, 40, 40]
    values["DataLoader"]["Train"]["sampler"] = {
        "name": "DistributedBatchSampler",
        "batch_size": 3,
        "shuffle": True,
    }
    operations = values["DataLoader"]["Eval"]["Query"]["dataset"]["transform_ops"]
    operations[-1] = {
        "NormalizeImage": {"scale": "1.0/255.0", "mean": [0.4] * 3, "std": [0.5] * 3, "order": ""}
    }
    report = checked(values, tmp_path)
    told = "\n".join(report.warnings)
    assert report.ok, report.text()
    (note,) = report.to_dict()["notes"]
    assert "'use_dali' has no effect" in note
    assert note not in told
    assert report.text().endswith(f"{len(report.warnings)} warnings, 1 note")
    for word in ("warm-up is as long as the run", "image_shape", "alone with their class", "normalises with"):
        assert word in told


def test_weights_are_told_and_not_fetched(
    values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    def refuse(*arguments: Any, **options: Any) -> None:
        raise AssertionError("check went to the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.delenv("LOOKALIKE_CACHE", raising=False)
    for name in ("HF_HOME", "HF_HUB_CACHE", "TORCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "cache"))
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    values["Arch"]["Backbone"] = {"name": "timm/lcnet_050", "pretrained": True}
    del values["Arch"]["BackboneStopLayer"]
    values["Arch"]["Neck"]["embedding_size"] = 1280
    report = checked(values, tmp_path)
    assert report.ok, report.text()
    told = [text for text in report.warnings if "fetched when training starts" in text]
    assert len(told) == 1
    assert "-o Arch.Backbone.pretrained=FILE" in told[0]
    address = "https://example.org/net.pdparams"
    kept = (
        tmp_path / "cache" / "lookalike" / f"{hashlib.sha256(address.encode()).hexdigest()[:12]}-net.pdparams"
    )
    values["Global"]["pretrained_model"] = address
    assert any(address in text for text in checked(values, tmp_path).warnings)
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"")
    assert download(address) == kept, "the name that the cache gives"
    text = checked(values, tmp_path).text()
    assert "✓ weights" in text
    assert str(kept) in text
    del values["Global"]["pretrained_model"]
    values["Arch"]["Backbone"]["name"] = "timm/lcnet_035"
    assert any("no published" in text for text in checked(values, tmp_path).problems)
    values["Arch"]["Backbone"]["name"] = "timm/lcnet_050"
    report = checked(values, tmp_path, "Global.pretrained_model=nowhere/best_model")
    assert any("-o Global.pretrained_model=" in text for text in report.problems)


def test_a_file_that_is_no_recipe(tmp_path: Path) -> None:
    assert "no such file" in check_recipe(tmp_path / "none.yaml").problems[0]
    (tmp_path / "odd.yaml").write_text("Global: [", encoding="utf-8")
    assert "not valid YAML" in check_recipe(tmp_path / "odd.yaml").problems[0]
    (tmp_path / "empty.yaml").write_text("Global: {epochs: 1}", encoding="utf-8")
    told = " ".join(check_recipe(tmp_path / "empty.yaml").problems)
    assert "no DataLoader.Train" in told
    assert "no Arch" in told


def test_query_and_gallery_of_one_list(values: dict[str, Any], pictures: Path, tmp_path: Path) -> None:
    put_list(values, "query", tmp_path, a_list(pictures, "gallery"))
    report = checked(values, tmp_path)
    assert report.ok
    (few,) = report.warnings  # the query's own file is passed over and no copy
    assert "15 queries of 3 classes: one query is 7 points" in few
    lines = a_list(pictures, "gallery")
    source = pictures / "pictures" / lines[0].split("\t")[0]
    (tmp_path / "copy.png").write_bytes(source.read_bytes())
    put_list(values, "gallery", tmp_path, [*lines, f"{tmp_path / 'copy.png'}\t6"])
    assert any(
        "1 file is both in Eval.Query and in Eval.Gallery" in text
        for text in checked(values, tmp_path).warnings
    )


def test_memory_is_told_without_pictures(values: dict[str, Any], tmp_path: Path) -> None:
    with_pictures = checked(values, tmp_path)
    values["DataLoader"]["Train"]["dataset"]["image_root"] = str(tmp_path / "nowhere")
    without = checked(values, tmp_path)
    assert without.memory["activations"] == pytest.approx(with_pictures.memory["activations"], rel=0.05)
    assert without.seconds is None


def test_classification_needs_the_classes_of_training(
    values: dict[str, Any], pictures: Path, tmp_path: Path
) -> None:
    values["Global"]["eval_mode"] = "classification"
    values["Metric"] = {"Eval": [{"TopkAcc": {}}]}
    values["DataLoader"]["Eval"] = values["DataLoader"]["Eval"]["Query"]
    report = checked(values, tmp_path)
    assert any("label 6 does not fit class_num 6" in problem for problem in report.problems)
    assert not any(finding.topic in ("positives", "queries") for finding in report.findings)
    values["DataLoader"]["Eval"]["dataset"]["cls_label_path"] = str(pictures / "train.txt")
    assert not any("class_num" in problem for problem in checked(values, tmp_path).problems)


def test_pairs_are_counted(values: dict[str, Any], pictures: Path, tmp_path: Path) -> None:
    values["Global"]["eval_mode"] = "adaface"
    del values["Metric"]
    block = values["DataLoader"]["Eval"] = values["DataLoader"]["Eval"]["Query"]
    lines = [f"class 6/{i % 8}.png\tclass {6 + i % 2}/{(i + 1) % 8}.png\t{1 - i % 2}\n" for i in range(12)]
    (tmp_path / "lfw_pairs.txt").write_text("".join(lines), encoding="utf-8")
    (tmp_path / "calfw_pairs.txt").write_text("".join(lines[:4]), encoding="utf-8")
    block["dataset"] = {
        "name": "FiveValidationDataset",
        "val_data_path": str(tmp_path),
        "image_root": str(pictures / "pictures"),
        "transform_ops": block["dataset"]["transform_ops"],
    }
    report = checked(values, tmp_path)
    told = [finding.text for finding in report.findings if finding.topic == "pairs"]
    assert told[1] == "Eval: 12 pairs of lfw, 6 of them of one identity"
    assert told[0].startswith("Eval: 4 pairs of calfw, 2 of them of one identity: 10 folds need")
    assert report.problems == [told[0]]
    values["Global"]["eval_mode"] = "retrieval"
    assert any("needs Global.eval_mode: adaface" in problem for problem in checked(values, tmp_path).problems)
