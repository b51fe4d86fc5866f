"""Runs that are scored by classification or in pairs, while they train and by `evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lookalike import Recipe, evaluate, train
from lookalike.core.errors import UserError
from lookalike.deploy.preprocessing import recipe_preprocess
from lookalike.evaluation import SetEvaluation
from lookalike.retrieval import RerankedSimilarities, evaluate_retrieval
from tests.tiny import PER_CLASS, TEST_CLASSES, TRAIN_CLASSES, recipe_values


def _one_set(values: dict[str, Any]) -> dict[str, Any]:
    """The Query block alone, as a plain data set."""
    return dict(values["DataLoader"]["Eval"]["Query"])


def _classification(pictures: Path, output: Path, **settings: Any) -> dict[str, Any]:
    values = recipe_values(pictures, output, epochs=1)
    values["Global"] |= {"eval_mode": "classification", **settings}
    values["Metric"] = {"Eval": [{"TopkAcc": {"topk": [2, 1]}}]}
    values["Loss"]["Eval"] = [{"CELoss": {"weight": 1.0}}]
    block = _one_set(values)
    block["dataset"]["cls_label_path"] = str(pictures / "train.txt")
    values["DataLoader"]["Eval"] = block
    return values


def test_classification(pictures: Path, tmp_path: Path) -> None:
    result = train(Recipe.from_dict(_classification(pictures, tmp_path)))
    assert list(result.metrics) == ["top2", "top1"]
    assert result.best_metric == result.metrics["top2"] > 0
    weights = str(tmp_path / "RecModel" / "best_model")
    found = evaluate(Recipe.from_dict(_classification(pictures, tmp_path, pretrained_model=weights)))
    assert isinstance(found, SetEvaluation)
    assert found.metrics == result.metrics
    assert found.images == TRAIN_CLASSES * PER_CLASS
    assert found.losses["CELoss"] > 0


def test_classes_are_compared_by_name_where_they_have_names(pictures: Path, tmp_path: Path) -> None:
    """A list that holds the last classes only, numbered anew, is scored as with its own numbers."""
    lines = (pictures / "train.txt").read_text(encoding="utf-8").splitlines(keepends=True)
    late = tmp_path / "late.txt"
    late.write_text("".join(line for line in lines if int(line.split("\t")[1]) >= 3), encoding="utf-8")
    results = []
    for relabel in (False, True):
        values = _classification(pictures, tmp_path / str(relabel))
        values["DataLoader"]["Eval"]["dataset"] |= {"cls_label_path": str(late), "relabel": relabel}
        results.append(train(Recipe.from_dict(values)).metrics)
    assert results[0] == results[1]


def test_what_cannot_be_classified(pictures: Path, tmp_path: Path) -> None:
    values = _classification(pictures, tmp_path)
    values["DataLoader"]["Eval"]["dataset"]["cls_label_path"] = str(pictures / "query.txt")
    with pytest.raises(UserError, match=r"query.txt:1: label 6 does not fit class_num 6"):
        train(Recipe.from_dict(values))
    values["DataLoader"]["Eval"]["dataset"]["relabel"] = True
    with pytest.raises(UserError, match=r"query.txt:1: class '6' is none of the 6 classes of training"):
        train(Recipe.from_dict(values))
    values = _classification(pictures, tmp_path)
    values["DataLoader"]["Eval"] = recipe_values(pictures, tmp_path)["DataLoader"]["Eval"]
    with pytest.raises(UserError, match="classification scores one data set and no gallery"):
        train(Recipe.from_dict(values))
    values = _classification(pictures, tmp_path)
    values["Metric"] = {"Eval": [{"Recallk": {}}]}
    with pytest.raises(UserError, match=r"Metric.Eval\[0\].*Recallk scores a search"):
        train(Recipe.from_dict(values))


def test_re_ranking(pictures: Path, tmp_path: Path) -> None:
    """While training and by `evaluate`: the figures of the re-ranked features."""
    values = recipe_values(pictures, tmp_path, epochs=1)
    values["Global"]["re_ranking"] = True
    result = train(Recipe.from_dict(values))
    values["Global"]["pretrained_model"] = str(tmp_path / "RecModel" / "best_model")
    assert evaluate(Recipe.from_dict(values)).metrics == result.metrics

    for reference_behaviour in (False, True):
        values["Global"]["reference_behaviour"] = reference_behaviour
        found = evaluate(Recipe.from_dict(values), keep_features=True)
        query, gallery = found.query_set, found.gallery_set
        expected = evaluate_retrieval(
            query.features, query.labels, gallery.features, gallery.labels, metrics=["recall@1", "mAP"],
            similarities=RerankedSimilarities(
                query.features, gallery.features, reference_behaviour=reference_behaviour
            ),
            reference_behaviour=reference_behaviour,
        )  # fmt: skip
        assert found.metrics["recall1"] == expected["recall@1"]
        assert found.metrics["mAP"] == pytest.approx(expected["mAP"], abs=1e-6)


def _pairs(pictures: Path, output: Path, **settings: Any) -> dict[str, Any]:
    values = recipe_values(pictures, output, epochs=1)
    values["Global"] |= {"eval_mode": "adaface", **settings}
    del values["Metric"]
    folder = output / "pairs"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("lfw", "agedb_30"):
        lines = []
        for number in range(24):
            label, other = TRAIN_CLASSES + number % TEST_CLASSES, TRAIN_CLASSES + (number + 1) % TEST_CLASSES
            second = label if number % 2 else other
            left, right = f"class {label}/{number % 8}.png", f"class {second}/{(number + 3) % 8}.png"
            lines.append(f"{left}\t{right}\t{int(label == second)}\n")
        (folder / f"{name}_pairs.txt").write_text("".join(lines), encoding="utf-8")
    block = _one_set(values)
    block["dataset"] = {
        "name": "FiveValidationDataset",
        "val_data_path": str(folder),
        "image_root": str(pictures / "pictures"),
        "concat_mem_file_name": "dataset/face/concat_validation_memfile",
        "transform_ops": block["dataset"]["transform_ops"],
    }
    values["DataLoader"]["Eval"] = block
    return values


def test_verification(pictures: Path, tmp_path: Path) -> None:
    result = train(Recipe.from_dict(_pairs(pictures, tmp_path)))
    assert list(result.metrics)[:3] == ["all_test_acc", "agedb_30_test_acc", "lfw_test_acc"]
    assert result.best_metric == result.metrics["all_test_acc"] > 0
    weights = str(tmp_path / "RecModel" / "best_model")
    recipe = Recipe.from_dict(_pairs(pictures, tmp_path, pretrained_model=weights))
    found = evaluate(recipe)
    assert isinstance(found, SetEvaluation)
    assert found.metrics == result.metrics
    assert found.images == TEST_CLASSES * PER_CLASS, "an image of several pairs is encoded once"
    assert recipe_preprocess(recipe).image_shape == (3, 32, 32), "what an export would hold"


def test_pairs_and_their_mode_belong_together(pictures: Path, tmp_path: Path) -> None:
    values = _pairs(pictures, tmp_path)
    values["Global"]["eval_mode"] = "retrieval"
    with pytest.raises(UserError, match=r"holds pairs of images, which needs Global\.eval_mode: adaface"):
        train(Recipe.from_dict(values))
    values = recipe_values(pictures, tmp_path)
    values["Global"]["eval_mode"] = "adaface"
    values["DataLoader"]["Eval"] = _one_set(values)
    with pytest.raises(UserError, match="evaluate on a FiveValidationDataset"):
        train(Recipe.from_dict(values))
