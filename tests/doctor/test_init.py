"""`init`: the lists and the recipe it writes for several forms of data."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch

from lookalike.core.errors import UserError
from lookalike.doctor import init_recipe
from lookalike.doctor.embedders import ask
from lookalike.model import RecModel, build_model
from lookalike.recipe import load_recipe
from tests.doctor.pictures import draw_class, draw_classes, read_lines


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_classes(tmp_path_factory.mktemp("data") / "my pictures", [6] * 10)


def tiny(data: Path, out: Path, **options: object) -> object:
    return init_recipe(data, out, **{"backbone": "Conv4", "size": 16, **options})  # type: ignore[arg-type]


def test_a_folder_becomes_lists_and_a_recipe(classes: Path, tmp_path: Path) -> None:
    result = init_recipe(classes, tmp_path / "my.yaml", backbone="Conv4", size=16, epochs=3)
    recipe = load_recipe(result.recipe)
    assert result.classes == 10
    assert result.pictures == 60
    assert recipe.global_.epochs == 3
    assert recipe.global_.eval_mode == "retrieval"
    assert recipe.global_.image_shape == [3, 16, 16]
    assert recipe.arch["Head"]["class_num"] == 6
    train, validation = read_lines(result.lists["train"]), read_lines(result.lists["validation"])
    query, gallery = read_lines(result.lists["query"]), read_lines(result.lists["gallery"])
    assert {label for _, label in train} == set(range(6))
    assert {label for _, label in validation} == {6, 7}
    assert {label for _, label in query} == {label for _, label in gallery} == {8, 9}
    assert len(train + validation + query + gallery) == 60
    assert all((classes / path).is_file() for path, _ in train + query)
    names = (tmp_path / "my_lists" / "classes.txt").read_text(encoding="utf-8")
    assert names.splitlines()[0].startswith("0\tclass ")
    text = Path(result.recipe).read_text(encoding="utf-8")
    assert text.startswith("# yaml-language-server: $schema=")
    assert "  # " in text


def test_the_same_data_and_seed_give_the_same_files(classes: Path, tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("two", 1), ("three", 2)):
        (tmp_path / name).mkdir()
        tiny(classes, tmp_path / name / "my.yaml", seed=seed)
    one, two, three = (tmp_path / name / "my_lists" / "train.txt" for name in ("one", "two", "three"))
    assert one.read_bytes() == two.read_bytes()
    assert one.read_bytes() != three.read_bytes()


@pytest.mark.parametrize("delimiter", ["\t", " ", ","])
def test_list_files(classes: Path, tmp_path: Path, delimiter: str) -> None:
    lines = [
        f"class {label}/{number}.png{delimiter}{100 + label}" for label in range(10) for number in range(6)
    ]
    (tmp_path / "list.txt").write_text("\n".join(lines), encoding="utf-8")
    result = init_recipe(tmp_path / "list.txt", tmp_path / "my.yaml", root=classes, backbone="Conv4")
    assert result.pictures == 60
    assert {label for _, label in read_lines(result.lists["train"])} == set(range(6))


def test_tables(classes: Path, tmp_path: Path) -> None:
    with open(classes / "table.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "name"])
        writer.writerows(
            [f"class {label}/{number}.png", f"thing, {label}"] for label in range(10) for number in range(6)
        )
    try:
        with pytest.raises(UserError, match="no column 'path'"):
            tiny(classes / "table.csv", tmp_path / "my.yaml")
        result = init_recipe(
            classes / "table.csv",
            tmp_path / "my.yaml",
            path_column="file",
            label_column="name",
            backbone="Conv4",
        )
    finally:
        (classes / "table.csv").unlink()
    assert result.classes == 10
    assert "thing, " in (tmp_path / "my_lists" / "classes.txt").read_text(encoding="utf-8")


def test_names_with_blanks_and_other_letters(tmp_path: Path) -> None:
    data = tmp_path / "Bilder: 'neu' # 1"
    for label, name in enumerate(
        ["Äpfel", " führt mit Leerzeichen", "日本", "a 1", "None", "b.c", "d#e", "f"]
    ):
        draw_class(data / name, 6, label)
    result = init_recipe(data, tmp_path / "größe 1.yaml", backbone="Conv4")
    recipe = load_recipe(result.recipe)
    assert recipe.data is not None
    assert recipe.data.Train is not None
    assert recipe.data.Train["dataset"]["image_root"] == str(data)
    from lookalike.doctor import check_recipe

    report = check_recipe(result.recipe)
    assert report.ok, report.text()


def test_nothing_is_left_where_a_name_cannot_be_written(tmp_path: Path) -> None:
    for label in range(8):
        draw_class(tmp_path / "data" / f"class\n{label}", 6, label)
    with pytest.raises(UserError, match=r"cannot write 'class\\n.*; rename it"):
        init_recipe(tmp_path / "data", tmp_path / "mine.yaml", backbone="Conv4")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_broken_and_doubled_pictures_are_left_out_and_told(tmp_path: Path) -> None:
    data = draw_classes(tmp_path / "data", [6] * 9)
    (data / "class 0" / "0.png").write_bytes(b"no picture")
    (data / "class 1" / "again.png").write_bytes((data / "class 1" / "0.png").read_bytes())
    (data / "class 2" / "other.png").write_bytes((data / "class 3" / "1.png").read_bytes())
    result = init_recipe(data, tmp_path / "my.yaml", backbone="Conv4")
    assert [Path(each["path"]).parts[-2:] for each in result.broken] == [("class 0", "0.png")]
    assert result.pictures == 6 * 9 - 1
    told = " ".join(result.warnings)
    assert "1 of 56 pictures is broken" in told
    assert "2 pictures are copies" in told
    assert "1 picture stands under two classes" in told
    assert "broken, left out" in result.text()
    assert "lookalike check -c" in result.text()


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["0.png 0", "nope.png 1"], ["1 of 2 pictures is broken and left out (first: ", "nope.png: "]),
        (["0.png 0", "0.png 1"], ["1 picture stands under two classes", "0.png is listed twice, "]),
    ],
)
def test_too_little_is_told_with_what_was_left_out(tmp_path: Path, lines: list[str], told: list[str]) -> None:
    draw_class(tmp_path, 1, 0)
    (tmp_path / "list.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(UserError, match="the one picture is of one class") as caught:
        tiny(tmp_path / "list.txt", tmp_path / "my.yaml")
    for words in told:
        assert words in str(caught.value)


def test_a_picture_that_is_listed_twice_is_told_with_its_lines(tmp_path: Path) -> None:
    data = draw_classes(tmp_path / "data", [3] * 2)
    lines = [f"class {label}/{number}.png\t{label}" for label in range(2) for number in range(3)]
    (data / "list.txt").write_text("\n".join([*lines, lines[1]]) + "\n", encoding="utf-8")
    result = tiny(data / "list.txt", tmp_path / "my.yaml")
    (told,) = [text for text in result.warnings if "copy" in text]  # type: ignore[attr-defined]
    file = data / "list.txt"
    twice = f"{data / 'class 0' / '1.png'} is listed twice, {file}:2 and {file}:7"
    assert told == f"1 picture is a copy of another and left out (first: {twice})"


def test_few_classes_are_explained_and_get_along_without_a_validation(tmp_path: Path) -> None:
    data = draw_classes(tmp_path / "data", [4, 5, 3])
    result = init_recipe(data, tmp_path / "my.yaml", backbone="Conv4")
    assert "validation" not in result.lists
    assert any("too few to hold some out" in warning for warning in result.warnings)
    recipe = load_recipe(result.recipe)
    assert recipe.data is not None
    assert recipe.data.Validation is None


def test_small_grey_pictures_get_a_small_network_and_others_one_of_timm(
    classes: Path, tmp_path: Path
) -> None:
    grey = draw_classes(tmp_path / "grey", [6] * 8, grey=True)
    assert init_recipe(grey, tmp_path / "grey.yaml").backbone == "Conv4"
    recipe = load_recipe(init_recipe(classes, tmp_path / "colour.yaml").recipe)
    assert recipe.arch["Backbone"] == {"name": "timm/mobilenetv2_100", "pretrained": True}
    assert recipe.global_.image_shape == [3, 96, 96]


def test_a_transformer_gets_its_picture_size(classes: Path, tmp_path: Path) -> None:
    name = "timm/vit_tiny_patch16_224"
    result = init_recipe(classes, tmp_path / "my.yaml", backbone=name, size=64, pretrained=False)
    assert load_recipe(result.recipe).arch["Backbone"]["img_size"] == 64


@pytest.mark.parametrize(
    ("backbone", "stop_layer", "side", "arguments"),
    [
        ("WideResNet", "flatten", 32, {"depth": 28, "widen_factor": 2, "dropout": 0.0, "num_classes": 10}),
        ("AdaFace_IR_18", None, 112, {}),
        ("AlexNet", "relu7", 224, {}),
        ("DeiT_tiny_patch16_224", "flatten", 224, {}),
        ("PVT_V2_B0", "flatten", 96, {}),
    ],
)
def test_each_network_is_asked_for_its_features_on_pictures_of_its_size(
    classes: Path,
    tmp_path: Path,
    backbone: str,
    stop_layer: str | None,
    side: int,
    arguments: dict[str, object],
) -> None:
    result = init_recipe(classes, tmp_path / "my.yaml", backbone=backbone, pretrained=False)
    recipe = load_recipe(result.recipe)
    assert recipe.arch["Backbone"] == {"name": backbone, **arguments, "pretrained": False}
    assert (recipe.arch.get("BackboneStopLayer") or {}).get("name") == stop_layer
    assert result.size == side
    with torch.device("meta"):  # head and neck fit, or it would not build
        model = build_model(recipe.arch, pretrained=False, image_shape=(3, side, side))
    assert isinstance(model, RecModel)
    assert model.embedding_size((3, side, side)) == recipe.arch["Head"]["embedding_size"]


def test_a_network_for_faces_is_built_for_the_size_that_is_asked_for() -> None:
    assert ask("AdaFace_IR_18", 224).sized == {"input_size": [224, 224]}
    assert ask("ViT_base_patch16_224", 64).sized == {"img_size": 64}
    assert not ask("CLIP_vit_base_patch32_224", 64).sized


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"backbone": "AdaFace_IR_18", "size": 160},
            r"not take pictures of 160 x 160, its own are 112 x 112: choose another --size \(.*112.*224",
        ),
        ({"backbone": "GoogLeNet"}, "neither here nor in timm"),
        ({"backbone": "PPLCNet_x0_26"}, r"unknown backbone 'PPLCNet_x0_26', did you mean 'PPLCNet_x0_25'\?"),
        ({"backbone": "AdaFace_IR_18", "pretrained": True}, "no pretrained weights are published for"),
        ({"backbone": "TinyNet_E", "pretrained": True}, "cannot be read.*name: timm/tinynet_e"),
    ],
)
def test_what_a_network_cannot_is_refused(
    classes: Path, tmp_path: Path, options: dict[str, object], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        init_recipe(classes, tmp_path / "my.yaml", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "my.yaml").exists()


def test_weights_that_are_published_are_fetched_unless_told_otherwise(classes: Path, tmp_path: Path) -> None:
    result = init_recipe(classes, tmp_path / "my.yaml", backbone="PPLCNet_x0_25")
    recipe = load_recipe(result.recipe)
    assert recipe.arch["Backbone"] == {"name": "PPLCNet_x0_25", "pretrained": True}
    assert recipe.data is not None
    assert recipe.data.Train is not None
    normalisation = recipe.data.Train["dataset"]["transform_ops"][-1]["NormalizeImage"]
    assert normalisation["mean"] == [0.485, 0.456, 0.406]


def test_a_named_file_of_weights(classes: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        tiny(classes, tmp_path / "my.yaml", pretrained=str(tmp_path / "none.safetensors"))
    (tmp_path / "weights.pdparams").write_bytes(b"")
    result = init_recipe(
        classes,
        tmp_path / "my.yaml",
        backbone="PPLCNet_x0_25",
        pretrained=str(tmp_path / "weights.pdparams"),
    )
    backbone = load_recipe(result.recipe).arch["Backbone"]
    assert backbone["pretrained"] == str(tmp_path / "weights.pdparams")


def test_nothing_is_overwritten_without_force(classes: Path, tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text("mine", encoding="utf-8")
    (tmp_path / "my_lists").mkdir()
    (tmp_path / "my_lists" / "notes.txt").write_text("mine, too", encoding="utf-8")
    with pytest.raises(UserError, match="--force"):
        tiny(classes, tmp_path / "my.yaml")
    assert (tmp_path / "my.yaml").read_text(encoding="utf-8") == "mine"
    tiny(classes, tmp_path / "my.yaml", force=True)
    assert (tmp_path / "my_lists" / "notes.txt").exists()
    load_recipe(tmp_path / "my.yaml")


def test_what_is_no_data_is_refused(classes: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        tiny(tmp_path / "nowhere", tmp_path / "my.yaml")
    for part in ("train", "test"):
        draw_class(tmp_path / "parts" / part / "cat", 2, 0)
    with pytest.raises(UserError, match="parts of a set"):
        tiny(tmp_path / "parts", tmp_path / "my.yaml")
    with pytest.raises(UserError, match="no network 'mobilenet_of_mine'"):
        tiny(classes, tmp_path / "my.yaml", backbone="timm/mobilenet_of_mine")
    with pytest.raises(UserError, match="a recipe is a YAML file"):
        tiny(classes, tmp_path / "my.txt")
    assert not (tmp_path / "my_lists").exists()
