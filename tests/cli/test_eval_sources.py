"""eval of feature files and of model folders, and its tables, from the command line."""

from __future__ import annotations

import csv
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from lookalike import Embedder
from lookalike.cli.report import model_facts, model_marks
from lookalike.retrieval import evaluate_retrieval
from tests.cli.conftest import Command

FIVE = ["recall1", "recall5", "mAP", "mINP", "precision@1"]


@pytest.fixture
def lists(pictures: Path) -> tuple[str | Path, ...]:
    return (
        "--query",
        pictures / "query.txt",
        "--gallery",
        pictures / "gallery.txt",
        "--root",
        pictures / "pictures",
    )


@pytest.fixture
def vectors(tmp_path: Path) -> Path:
    """Features of 12 pictures of three classes, with cameras."""
    generator = np.random.default_rng(0)
    labels = np.repeat([3, 5, 9], 4)
    np.savez(
        tmp_path / "v.npz",
        vectors=(np.eye(3).repeat(4, axis=0) + 0.8 * generator.normal(size=(12, 3))).astype(np.float32),
        paths=np.array([f"{number}.png" for number in range(12)]),
        labels=labels,
        cameras=np.tile([0, 1], 6),
    )
    return tmp_path / "v.npz"


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_embed_then_eval(command: Command, model: Path, pictures: Path, lists: tuple, tmp_path: Path) -> None:
    for part, suffix in (("query", "npz"), ("gallery", "parquet")):
        named = ("--list", pictures / f"{part}.txt", "--root", pictures / "pictures")
        assert command("embed", model, *named, "--out", tmp_path / f"{part}.{suffix}").code == 0
    files = ("--features", tmp_path / "query.npz", "--gallery", tmp_path / "gallery.parquet")
    found = command("eval", *files, "--json").json()
    assert list(found["metrics"]) == FIVE
    assert (found["queries"], found["gallery"], found["queries_without_positive"]) == (9, 15, 0)
    embedder = Embedder(model)
    query, gallery = (
        [line.split("\t") for line in (pictures / f"{part}.txt").read_text().splitlines()]
        for part in ("query", "gallery")
    )
    vectors = [
        embedder.encode([pictures / "pictures" / path for path, _ in listed]) for listed in (query, gallery)
    ]
    expected = evaluate_retrieval(
        vectors[0], [label for _, label in query], vectors[1], [label for _, label in gallery]
    )
    assert found["metrics"] == pytest.approx(dict(zip(FIVE, expected.values(), strict=True)), abs=1e-6)
    # the model folder itself, by lists: the same vectors
    by_model = command("eval", "--model", model, *lists, "--json").json()
    assert by_model["metrics"] == found["metrics"]
    only = command("eval", "--model", model, *lists, "--metrics", "mAP, recall@2", "--json").json()
    assert list(only["metrics"]) == ["mAP", "recall2"]


def test_folders_of_classes(command: Command, model: Path, pictures: Path, tmp_path: Path) -> None:
    listed = [f"class {number}/{picture}.png\t{number}" for number in range(9) for picture in range(8)]
    (tmp_path / "list.txt").write_text("\n".join(listed), encoding="utf-8")
    root = pictures / "pictures"
    by_folder = command("eval", "--model", model, "--query", root, "--json").json()
    by_list = command(
        "eval", "--model", model, "--query", tmp_path / "list.txt", "--root", root, "--json"
    ).json()
    assert by_folder["metrics"] == by_list["metrics"]
    assert by_folder["queries"] == by_folder["gallery"] == 72


def test_a_model_folder_on_the_sets_of_a_recipe(
    command: Command, model: Path, lists: tuple, recipe_file: Path, checkpoint: Path
) -> None:
    found = command("eval", "--model", model, "-c", recipe_file, "--json").json()
    online = command(
        "eval", "-c", recipe_file, "-o", f"Global.pretrained_model={checkpoint}", "--json"
    ).json()
    assert list(found["metrics"]) == ["recall1", "recall2", "mAP"]
    assert found["metrics"] == pytest.approx(online["metrics"], abs=1e-6)
    assert found["macro"] == pytest.approx(online["macro"], abs=1e-6)

    again = ("eval", "--model", model, "-c", recipe_file, "-o", "Global.re_ranking=True")
    assert command(*again, "--json").json()["metrics"]["mAP"] != found["metrics"]["mAP"]
    assert "which re-ranking has none of" in command(*again, "--report", "r.html").sentence()


def test_what_is_done_before_the_search(command: Command, vectors: Path, tmp_path: Path) -> None:
    plain = command("eval", "--features", vectors, "--json").json()["metrics"]
    np.savez(tmp_path / "train.npz", vectors=np.random.default_rng(1).normal(size=(50, 3)) * [9, 3, 1])
    ways = {
        "--re-ranking": (), "--whiten": (tmp_path / "train.npz",), "--database-augmentation": ("2",),
    }  # fmt: skip
    for flag, value in ways.items():
        found = command("eval", "--features", vectors, flag, *value, "--json").json()["metrics"]
        assert found["mAP"] != plain["mAP"], flag
    told = command("eval", "--features", vectors, "--query-expansion", "2").sentence()
    assert "query expansion needs a gallery beside the queries" in told
    told = command("eval", "--features", vectors, "--whiten", vectors, "--no-normalize").sentence()
    assert "leave --no-normalize away" in told
    told = command("eval", "--features", vectors, "--re-ranking", "--report", tmp_path / "r.html").sentence()
    assert "which re-ranking has none of" in told


def test_views_of_a_model_and_of_a_checkpoint(
    command: Command, model: Path, recipe_file: Path, checkpoint: Path, tmp_path: Path
) -> None:
    weights = ("-c", recipe_file, "-o", f"Global.pretrained_model={checkpoint}")
    plain = command("eval", *weights, "--json").json()["metrics"]
    online = command("eval", *weights, "--flip", "--json").json()["metrics"]
    assert online != plain
    found = command("eval", "--model", model, "-c", recipe_file, "--flip", "--json").json()["metrics"]
    assert found == pytest.approx(online, abs=1e-6)
    assert command("eval", *weights, "--scales", "1,1.5", "--json").json()["metrics"] != plain
    told = command("eval", "--model", model, "-c", recipe_file, "--scales", "1,1.5").sentence()
    assert "takes pictures of one size only" in told
    assert "got '1;2'" in command("eval", *weights, "--scales", "1;2").sentence()
    np.savez(tmp_path / "v.npz", vectors=np.eye(2), labels=[0, 0])
    told = command("eval", "--features", tmp_path / "v.npz", "--flip").sentence()
    assert "--flip has no meaning with --features" in told


def test_an_output_never_takes_the_place_of_an_input_or_a_device(
    command: Command, vectors: Path, tmp_path: Path
) -> None:
    before = vectors.read_bytes()
    (tmp_path / "link.npz").symlink_to(vectors)
    for named in (vectors, tmp_path / "link.npz"):
        for flag in ("--csv", "--report"):
            told = command("eval", "--features", vectors, flag, named).sentence()
            assert "would take the place of what is scored" in told
    assert vectors.read_bytes() == before
    os.mkfifo(tmp_path / "pipe")
    told = command("eval", "--features", vectors, "--csv", tmp_path / "pipe").sentence()
    assert "is no regular file" in told


@pytest.mark.parametrize("option", ["--csv", "--per-class-csv", "--report"])
def test_an_output_never_takes_the_place_of_a_model_or_of_what_it_is_scored_on(
    command: Command, model: Path, recipe_file: Path, checkpoint: Path, pictures: Path, tmp_path: Path,
    option: str,
) -> None:  # fmt: skip
    manifest = model / "lookalike.json"
    list_file, photo = tmp_path / "list.txt", tmp_path / "photo.data"
    shutil.copy(pictures / "pictures" / "class 6" / "0.png", photo)
    list_file.write_text(f"{photo.name}\t6\n")
    read = [manifest, checkpoint / "recipe.yaml", pictures / "query.txt", list_file, photo]
    before = [path.read_bytes() for path in read]
    lists, taken = ("--query", list_file), "would take the place of what is scored"
    for words, output, told in (
        (("--model", model, *lists), manifest, "which is scored and stays as it is"),
        (("--model", model, *lists), model / "new.csv", "which is scored and stays as it is"),
        (("--model", model, *lists), tmp_path / "new.PNG", "has the name of a picture"),
        (("--model", model, *lists), photo, taken),
        (("--model", model, "-c", recipe_file), pictures / "query.txt", taken),
        (("-c", recipe_file), pictures / "query.txt", taken),
        (
            ("-c", recipe_file, "-o", f"Global.pretrained_model={checkpoint}"),
            checkpoint / "recipe.yaml",
            taken,
        ),
    ):
        sentence = command("eval", *words, option, output).sentence()
        assert sentence.startswith(f"{option} {output} ")
        assert told in sentence
    assert [path.read_bytes() for path in read] == before
    assert not (model / "new.csv").exists()


def test_rates_that_too_few_wrong_answers_stand_behind_are_told(command: Command, vectors: Path) -> None:
    told = command("eval", "--features", vectors, "--metrics", "TAR@FAR=0.001,DIR@FAR=0.01,DIR@FAR=0.5")
    assert "TAR@FAR=0.001 is found on 48 pairs of two classes" in told.err
    assert "DIR@FAR=0.01 is found on 12 unknown things" in told.err
    assert "DIR@FAR=0.5" not in told.err


def test_rates_and_their_intervals(command: Command, vectors: Path, tmp_path: Path) -> None:
    rates = "TAR@FAR=0.1,DIR@FAR=0.1,recall@1"
    files = ("--csv", tmp_path / "q.csv", "--per-class-csv", tmp_path / "c.csv")
    found = command("eval", "--features", vectors, "--metrics", rates, "--interval", *files, "--json").json()
    assert list(found["metrics"]) == list(found["intervals"]) == ["TAR@FAR=0.1", "DIR@FAR=0.1", "recall1"]
    assert list(found["macro"]) == ["DIR@FAR=0.1", "recall1"]  # pairs are of no one query
    assert "TAR@FAR=0.1" not in rows(tmp_path / "q.csv")[0]
    assert float(rows(tmp_path / "c.csv")[0]["DIR@FAR=0.1"]) <= 1
    page = tmp_path / "r.html"
    assert command("eval", "--features", vectors, "--metrics", "TAR@FAR=0.1", "--report", page).code == 0
    assert "pairs of one class that are accepted" in page.read_text(encoding="utf-8")


def test_one_file_is_searched_in_itself(command: Command, vectors: Path, tmp_path: Path) -> None:
    found = command("eval", "--features", vectors, "--metrics", "recall@1,mAP", "--json").json()
    with np.load(vectors) as arrays:
        unit = arrays["vectors"] / np.linalg.norm(arrays["vectors"], axis=1, keepdims=True)
        labels, cameras = arrays["labels"], arrays["cameras"]
        raw = arrays["vectors"]
    for features, words in ((unit, ()), (raw, ("--no-normalize",))):
        expected = evaluate_retrieval(
            features, labels, features, labels, cameras, cameras, ("recall@1", "mAP"), exclude_self=True
        )
        told = command("eval", "--features", vectors, *words, "--metrics", "recall1,mAP", "--json").json()
        assert told["metrics"] == pytest.approx(
            {"recall1": expected["recall@1"], "mAP": expected["mAP"]}, abs=1e-6
        )
    again = command(
        "eval", "--features", vectors, "--gallery", vectors, "--metrics", "recall@1,mAP", "--json"
    )
    assert again.json()["metrics"] == found["metrics"]


def test_tables_and_intervals(command: Command, vectors: Path, tmp_path: Path) -> None:
    words = ("--csv", tmp_path / "q.csv", "--per-class-csv", tmp_path / "c.csv", "--interval")
    told = command("eval", "--features", vectors, *words, "--json").json()
    queries, classes = rows(tmp_path / "q.csv"), rows(tmp_path / "c.csv")
    assert list(queries[0]) == [
        "path", "label", "has_positive", *FIVE, "first_hit_rank", "nearest_path", "nearest_label",
        "nearest_similarity",
    ]  # fmt: skip
    assert [row["path"] for row in queries] == [f"{number}.png" for number in range(12)]
    for row in queries:
        assert row["nearest_path"] != row["path"]
        assert (
            float(row["recall1"]) == (row["nearest_label"] == row["label"]) == (row["first_hit_rank"] == "1")
        )
    for name, value in told["metrics"].items():
        assert np.mean([float(row[name]) for row in queries]) == pytest.approx(value, abs=1e-12)
        low, high = told["intervals"][name]
        assert low <= value <= high
        assert np.mean([float(row[name]) for row in classes]) == pytest.approx(told["macro"][name], abs=1e-12)
    assert [(row["label"], row["queries"], row["queries_with_match"]) for row in classes] == [
        ("3", "4", "4"), ("5", "4", "4"), ("9", "4", "4"),
    ]  # fmt: skip
    text = command("eval", "--features", vectors, "--interval").out.splitlines()
    assert text[0].startswith("recall1 ")
    assert "…" in text[0]
    assert text[-1].startswith("12 queries, 12 gallery pictures, ")


def test_tables_of_a_recipe(command: Command, recipe_file: Path, checkpoint: Path, tmp_path: Path) -> None:
    weights = ("-c", recipe_file, "-o", f"Global.pretrained_model={checkpoint}")
    files = ("--csv", tmp_path / "q.csv", "--report", tmp_path / "r.html")
    told = command("eval", *weights, *files, "--metrics", "MRR", "--interval", "--json").json()
    queries = rows(tmp_path / "q.csv")
    assert list(told["metrics"]) == list(told["intervals"]) == ["MRR"]
    assert np.mean([float(row["MRR"]) for row in queries]) == pytest.approx(told["metrics"]["MRR"])
    assert Path(queries[0]["nearest_path"]).is_file()
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert str(checkpoint) in page
    assert "query.txt" in page
    for mode, words in (
        ("reference_behaviour=True", "--interval"),
        ("reference_behaviour=True", "--report=r.html"),
        ("eval_mode=classification", "--csv=q.csv"),
    ):
        refused = command("eval", *weights, "-o", f"Global.{mode}", words).sentence()
        assert refused.startswith(words.partition("=")[0])


@pytest.mark.parametrize("source", ["model", "checkpoint"])
def test_vectors_are_kept_for_the_next_time(
    command: Command, request: pytest.FixtureRequest, source: str, lists: tuple, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    words = (
        "eval",
        "--model",
        request.getfixturevalue(source),
        *lists,
        "--cache",
        tmp_path / "cache",
        "--json",
    )
    first = command(*words).json()
    assert len(list((tmp_path / "cache").iterdir())) == 2

    def embeds(*_: object, **__: object) -> None:
        raise AssertionError("embedded again")

    monkeypatch.setattr(Embedder, "encode", embeds)
    again = command(*words).json()
    assert {**again, "seconds": 0} == {**first, "seconds": 0}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "say what to score: -c RECIPE"),
        (("--features", "v.npz", "-c", "x.yaml"), "-c has no meaning with --features"),
        (("--features", "v.npz", "--cache", "x"), "--cache has no meaning with --features"),
        (("--model", "m", "--query", "."), "m: there is no such model folder (--model names it)"),
        (("--model", "m"), "--model needs pictures: --query LIST, or -c RECIPE"),
        (
            ("--model", "m", "--query", "a.txt", "--bits", "8"),
            "--bits has no meaning with --model and --query",
        ),
        (
            ("--model", "m", "-c", "r.yaml", "--gallery", "a.txt"),
            "--gallery has no meaning with --model and -c",
        ),
        (("-c", "r.yaml", "--no-normalize"), "--normalize has no meaning with -c"),
        (("--features", "gone.npz"), "gone.npz: there is no such file"),
        (("--features", "v.npz", "--metrics", "recal@1"), "unknown metric 'recal@1'"),
        (("--features", "v.npz", "--root", "."), "name a list too"),
        (("--model", "m", "--query", ".", "--root", "."), "name a list too"),
        (("--features", "v.npz", "--csv", "."), "--csv . is a folder"),
        (("--features", "v.npz", "--csv", "v.npz/x.csv"), "--csv v.npz/x.csv cannot be written: "),
        (
            ("--features", "v.npz", "--csv", "a.csv", "--per-class-csv", "a.csv"),
            "--csv and --per-class-csv name the same file: a.csv",
        ),
        (("--features", "v.npz", "--gallery-list", "a"), "name that file too"),
    ],
)
def test_mistakes_are_one_sentence(
    command: Command, vectors: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], sentence: str
) -> None:
    monkeypatch.chdir(vectors.parent)
    assert sentence in command("eval", *words).sentence()


def test_a_rank_is_no_share(command: Command, vectors: Path) -> None:
    words = ("eval", "--features", vectors, "--metrics", "first_hit_rank,recall@1")
    rank = command(*words, "--json").json()["metrics"]["first_hit_rank"]
    assert command(*words).out.startswith(f"first_hit_rank {rank:.1f}  recall1 ")
    assert command(*words, "--interval").out.splitlines()[0].startswith(f"first_hit_rank {rank:.1f}  (1.")


def test_figures_are_told_where_a_table_cannot_be_written(
    command: Command, vectors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lookalike.core.files.os.replace", full)
    for option in ("--csv", "--report"):
        found = command("eval", "--features", vectors, option, tmp_path / "a.csv")
        assert found.code == 1
        assert found.out.startswith("recall1 ")
        told = f"lookalike: the disk is full: no space is left for {tmp_path / 'a.csv'}"
        assert found.err.splitlines()[-1] == told
        assert not (tmp_path / "a.csv").exists()


def test_a_report_of_a_checkpoint(checkpoint: Path) -> None:
    assert model_facts(str(checkpoint)) == [("checkpoint", str(checkpoint))]
    assert model_marks(str(checkpoint)) == []


def test_a_report_of_each_source(
    command: Command, model: Path, pictures: Path, lists: tuple, vectors: Path, tmp_path: Path
) -> None:
    of_vectors, of_model = tmp_path / "v.html", tmp_path / "m.html"
    assert command("eval", "--features", vectors, "--report", of_vectors).code == 0
    page = of_vectors.read_text(encoding="utf-8")
    assert str(vectors) in page
    assert "How alike pictures are" in page
    assert "could not be shown" in page  # their files are not here
    found = command("eval", "--model", model, *lists, "--report", of_model, "--json").json()
    page = of_model.read_text(encoding="utf-8")
    assert Embedder(model).fingerprint[:12] in page
    assert f"<p class='value'>{100 * found['metrics']['recall1']:.1f} %</p>" in page
    assert "could not be shown" not in page
    assert "data:image/jpeg" in page
