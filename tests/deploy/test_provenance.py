"""What a checkpoint says of its training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from lookalike import Recipe
from lookalike.core.errors import UserError
from lookalike.deploy.provenance import Provenance
from tests.tiny import recipe_values


def of(content: str, pictures: Path, weights: Path) -> Provenance:
    (weights / "state").mkdir()
    (weights / "state" / "training.json").write_text(content, "utf-8")
    return Provenance.of(Recipe.from_dict(recipe_values(pictures, weights)), str(weights))


def test_the_figures_are_those_of_the_epoch_that_it_holds(pictures: Path, tmp_path: Path) -> None:
    history = [{"epoch": epoch, "eval": {"recall1": epoch / 10}} for epoch in (1, 2)]
    found = of(json.dumps({"history": history}), pictures, tmp_path)
    assert (found.metrics, found.made_from["epochs"]) == ({"recall1": 0.2}, 2)


def test_the_score_when_training_was_done_stands_before_it(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "score.json").write_text('{"metrics": {"recall1": 0.9}}', "utf-8")
    (tmp_path / "state" / "training.json").write_text('{"history": [{"epoch": 3}]}', "utf-8")
    found = Provenance.of(Recipe.from_dict(recipe_values(pictures, tmp_path)), str(tmp_path))
    assert (found.metrics, found.made_from["epochs"]) == ({"recall1": 0.9}, 3)
    assert set(found.metrics_data) == {"DataLoader.Eval.Query", "DataLoader.Eval.Gallery"}


def test_pictures_are_those_of_the_training_not_of_the_export(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "score.json").write_text('{"metrics": {"recall1": 0.9}}', "utf-8")
    values = recipe_values(pictures, tmp_path)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(values), "utf-8")
    values["Global"]["pretrained_model"] = str(tmp_path)
    values["DataLoader"]["Eval"]["Query"]["dataset"]["cls_label_path"] = "other.txt"
    found = Provenance.of(Recipe.from_dict(values), str(tmp_path))
    assert found.metrics_data["DataLoader.Eval.Query"] == str(pictures / "query.txt")


def test_a_checkpoint_before_its_first_epoch_has_none(pictures: Path, tmp_path: Path) -> None:
    assert of('{"history": []}', pictures, tmp_path).metrics == {}


@pytest.mark.parametrize("content", ['{"history": [', "{}", "[]", '{"history": 3}', '{"history": ["a"]}'])
def test_a_damaged_one_is_one_sentence(content: str, pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"training\.json, which says .* is damaged") as told:
        of(content, pictures, tmp_path)
    assert len(str(told.value).splitlines()) == 1
