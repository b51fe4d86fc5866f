"""Shipped recipes by name, and files that a recipe names."""

from __future__ import annotations

from pathlib import Path

import pytest

from lookalike.core.errors import UserError
from lookalike.recipe import (
    Recipe,
    describe_recipe,
    find_recipe,
    list_recipes,
    load_recipe,
    missing_paths,
    require_paths,
    shipped_folder,
)


def test_shipped_recipes() -> None:
    names = list_recipes()
    assert names == sorted(names)
    assert {"general/pp_shitu_v1", "general/pp_shitu_v2", "product/sop", "vehicle/reid", "vehicle/resnet50",
            "logo/logo3k", "cartoon/icartoon", "metric_learning/omniglot"} <= set(names)  # fmt: skip
    assert find_recipe("product/sop").resolve() == shipped_folder() / "product" / "sop.yaml"
    assert find_recipe("product/sop.yaml").resolve() == shipped_folder() / "product" / "sop.yaml"


def test_a_file_comes_before_a_shipped_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "product").mkdir()
    (tmp_path / "product" / "sop.yaml").write_text("Global: {epochs: 7}\n")
    assert load_recipe("product/sop.yaml").global_.epochs == 7
    assert load_recipe("product/sop").global_.epochs == 120


@pytest.mark.parametrize(
    ("name", "near"),
    [("product/spo", "'product/sop'"), ("sop", "'product/sop'"), ("no.yaml", "(lookalike recipe list shows")],
)
def test_unknown_names(name: str, near: str) -> None:
    with pytest.raises(UserError) as caught:
        load_recipe(name)
    assert near in str(caught.value)
    assert str(caught.value).startswith(f"{name}: no such file and no shipped recipe")


def test_a_folder_is_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a folder"):
        load_recipe(tmp_path)


def recipe_with_paths(tmp_path: Path) -> Recipe:
    (tmp_path / "images").mkdir()
    (tmp_path / "train.txt").write_text("a.jpg 0\n")
    (tmp_path / "weights.pdparams").write_text("")
    dataset = {"name": "ImageNetDataset", "image_root": str(tmp_path / "images")}
    return Recipe.from_dict(
        {
            "Global": {
                "pretrained_model": str(tmp_path / "weights"),
                "checkpoints": str(tmp_path / "latest"),
            },
            "Arch": {"Backbone": {"name": "ResNet50", "pretrained": "https://host/w.pdparams"}},
            "DataLoader": {
                "Train": {"dataset": {**dataset, "cls_label_path": str(tmp_path / "train.txt")}},
                "Eval": {"Query": {"dataset": {**dataset, "cls_label_path": str(tmp_path / "query.txt")}}},
            },
        },
        name="mine.yaml",
    )


def test_missing_files_are_named_by_their_keys(tmp_path: Path) -> None:
    recipe = recipe_with_paths(tmp_path)
    assert missing_paths(recipe) == [
        ("Global.checkpoints", str(tmp_path / "latest")),
        ("DataLoader.Eval.Query.dataset.cls_label_path", str(tmp_path / "query.txt")),
    ]
    assert missing_paths(recipe, under=("DataLoader.Train",)) == []
    with pytest.raises(UserError) as caught:
        require_paths(recipe, under=("DataLoader",))
    assert str(caught.value).startswith(
        "mine.yaml: DataLoader.Eval.Query.dataset.cls_label_path: "
        f"{tmp_path / 'query.txt'} is not there, seen from {Path.cwd()}; "
    )
    assert str(caught.value).endswith("say where with -o DataLoader.Eval.Query.dataset.cls_label_path=…")
    with pytest.raises(UserError, match=r"latest, DataLoader\..*query\.txt are not there, seen from .*; say"):
        require_paths(recipe)
    (tmp_path / "query.txt").write_text("a.jpg 0\n")
    require_paths(recipe, under=("DataLoader",))


def test_missing_files_are_named_by_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "lines.yaml"
    path.write_text(
        "Global:\n  checkpoints: nowhere\nDataLoader:\n  Train:\n    dataset:\n"
        "      name: ImageNetDataset\n      image_root: .\n      cls_label_path: lists/train.txt\n"
    )
    label_path = "DataLoader.Train.dataset.cls_label_path"
    with pytest.raises(UserError) as caught:
        require_paths(load_recipe(path), under=("DataLoader",))
    assert str(caught.value) == (
        f"{path}:8: {label_path}: lists/train.txt is not there, seen from {Path.cwd()}; "
        f"say where with -o {label_path}=…"
    )
    with pytest.raises(UserError) as caught:
        require_paths(load_recipe(path, [f"{label_path}=none.txt"]))
    assert str(caught.value) == (
        f"{path}:2: Global.checkpoints: nowhere, -o: {label_path}: none.txt are not there, "
        f"seen from {Path.cwd()}; say where with -o Global.checkpoints=… -o {label_path}=…"
    )


def test_a_recipe_is_described_by_its_first_words() -> None:
    assert describe_recipe("product/sop") == "Stanford Online Products"
    assert describe_recipe("logo/logo3k") == "Logos of LogoDet-3K, cut out of their pictures"
    assert [name for name in list_recipes() if not describe_recipe(name)] == []


def test_a_recipe_without_a_comment_is_not_described(tmp_path: Path) -> None:
    file = tmp_path / "bare.yaml"
    file.write_text("Global: {epochs: 7}\n# Not this one.\n")
    assert describe_recipe(str(file)) == ""
