"""embed, from the command line."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from lookalike import Embedder
from lookalike.images.feature_table import numbers_or_text
from tests.cli.conftest import Command


def test_vectors_are_printed_by_name(command: Command, model: Path, some: list[Path]) -> None:
    told = command("embed", model, *some[:2])
    assert told.code == 0
    found = re.findall(r"^(\S+): \[([^\]]*)\]", told.out, flags=re.MULTILINE)
    assert [name for name, _ in found] == ["0.png", "1.png"]
    printed = np.array([[float(number) for number in numbers.split()] for _, numbers in found])
    np.testing.assert_allclose(printed, Embedder(model).encode(some[:2]), atol=1e-5)


def test_folder_pattern_and_json(command: Command, model: Path, some: list[Path]) -> None:
    folder = some[0].parent
    whole = command("embed", model, folder, "--json").json()
    assert whole["pictures"] == 8
    assert whole["size"] == 16
    assert [list(one) for one in whole["vectors"]] == [["path", "vector"]] * 8
    assert [one["path"] for one in whole["vectors"]] == [str(path) for path in some]
    pattern = command("embed", model, f"{folder}/[01].png", some[0], "--json").json()
    assert [one["path"] for one in pattern["vectors"]] == [str(some[i]) for i in (0, 1, 0)]  # named twice
    for i, j in enumerate((0, 1, 0)):
        np.testing.assert_allclose(pattern["vectors"][i]["vector"], whole["vectors"][j]["vector"], atol=1e-6)


def test_list_with_labels_and_cameras_to_npz(
    command: Command, model: Path, pictures: Path, tmp_path: Path
) -> None:
    lines = [f"class {c}/{n}.png {c} {n % 2}" for c in (6, 8) for n in range(3)]
    (tmp_path / "list.txt").write_text("\n".join(lines).replace("class ", "class_"), encoding="utf-8")
    for c in (6, 8):
        (tmp_path / f"class_{c}").symlink_to(pictures / "pictures" / f"class {c}")
    out = tmp_path / "out" / "vectors.npz"
    told = command("embed", model, "--list", tmp_path / "list.txt", "--out", out, "--json").json()
    assert told == {"pictures": 6, "size": 16, "broken": [], "out": str(out)}
    with np.load(out, allow_pickle=False) as arrays:
        assert sorted(arrays) == ["cameras", "labels", "paths", "vectors"]
        assert arrays["labels"].tolist() == [6, 6, 6, 8, 8, 8]
        assert arrays["cameras"].tolist() == [0, 1, 0, 0, 1, 0]
        assert arrays["vectors"].dtype == np.float32
        np.testing.assert_allclose(
            arrays["vectors"], Embedder(model).encode(arrays["paths"].tolist()), atol=1e-6
        )
    first = command("embed", model, "--list", tmp_path / "list.txt", "--json").json()["vectors"][1]
    assert {**first, "vector": len(first["vector"])} == {
        "path": str(tmp_path / "class_6" / "1.png"), "label": 6, "camera": 1, "vector": 16,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("labels", "written"),
    [
        (["7", "-3"], [7, -3]),
        (["007", "12"], [7, 12]),
        (["007", "7"], ["007", "7"]),  # two labels, which one number would make one
        (["7", "shoe"], ["7", "shoe"]),
        (["7", "9" * 30], ["7", "9" * 30]),
    ],
)
def test_labels_are_numbers_where_all_are(labels: list[str], written: list[int | str]) -> None:
    array = numbers_or_text(labels)
    assert array.tolist() == written
    assert array.dtype.kind == ("i" if isinstance(written[0], int) else "U")


def test_list_with_a_root(command: Command, model: Path, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "q.npz"
    words = ("--list", pictures / "query.txt", "--root", pictures / "pictures", "--out", out)
    assert command("embed", model, *words).code == 0
    with np.load(out) as arrays:
        assert arrays["labels"].tolist() == [6, 6, 6, 7, 7, 7, 8, 8, 8]
        assert arrays["cameras"].tolist() == [-1] * 9
    assert command("embed", model, pictures / "pictures" / "class 6", "--out", out).code == 0
    with np.load(out, allow_pickle=False) as arrays:
        assert sorted(arrays) == ["cameras", "labels", "paths", "vectors"]
        for name in ("labels", "cameras"):
            assert arrays[name].dtype == np.int64
            assert arrays[name].tolist() == [-1] * 8
    assert (
        command("embed", model, pictures / "pictures" / "class 6", "--folder-labels", "--out", out).code == 0
    )
    with np.load(out, allow_pickle=False) as arrays:
        assert arrays["labels"].tolist() == ["class 6"] * 8
    assert "leave --folder-labels away" in command("embed", model, *words, "--folder-labels").sentence()


def test_parquet(command: Command, model: Path, some: list[Path], tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    out = tmp_path / "vectors.parquet"
    assert command("embed", model, *some[:3], "--out", out).code == 0
    table = parquet.read_table(out)
    assert table.column_names == ["vectors", "paths", "labels", "cameras"]
    assert table.column("labels").to_pylist() == table.column("cameras").to_pylist() == [-1] * 3
    assert table.column("paths").to_pylist() == [str(path) for path in some[:3]]
    np.testing.assert_allclose(
        table.column("vectors").to_pylist(), Embedder(model).encode(some[:3]), atol=1e-6
    )


def test_a_checkpoint_and_any_layer_of_it(
    command: Command, model: Path, checkpoint: Path, some: list[Path]
) -> None:
    last = command("embed", checkpoint, some[0], "--json").json()
    vector = last["vectors"][0]["vector"]
    np.testing.assert_allclose(vector, Embedder(model).encode(some[0])[0], atol=1e-4)
    layer = command("embed", checkpoint, some[0], "--layer", "backbone.blocks4", "--json").json()
    assert layer["size"] == len(layer["vectors"][0]["vector"]) != 16
    named = ["--layer", "backbone.blocks4", "--layer", "neck"]
    several = command("embed", checkpoint, some[0], *named, "--json").json()
    assert several["size"] == layer["size"] + 16
    assert several["vectors"][0]["vector"][: layer["size"]] == layer["vectors"][0]["vector"]
    assert "a checkpoint" in command("embed", model, some[0], "--layer", "backbone").sentence()
    assert "blocks33" in command("embed", checkpoint, some[0], "--layer", "backbone.blocks33").sentence()


def test_broken_pictures_are_told_and_left_out(
    command: Command, model: Path, some: list[Path], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    told = command("embed", model, broken, some[0], "--json")
    assert [one["path"] for one in told.json()["vectors"]] == [str(some[0])]
    assert told.json()["broken"][0].startswith(str(broken))
    assert "left out" in told.err
    assert "none of the 1 pictures could be read" in command("embed", model, broken).sentence()


def test_mistakes_are_one_sentence(command: Command, model: Path, some: list[Path], tmp_path: Path) -> None:
    assert "name a model folder" in command("embed").sentence()
    assert "name at least one picture" in command("embed", model).sentence()
    assert "nowhere" in command("embed", tmp_path / "nowhere", some[0]).sentence()
    assert "neither a model folder nor a checkpoint" in command("embed", tmp_path, some[0]).sentence()
    assert "gone.png" in command("embed", model, tmp_path / "gone.png").sentence()
    assert "no file matches" in command("embed", model, f"{tmp_path}/*.webp").sentence()
    assert "no picture in this folder" in command("embed", model, tmp_path).sentence()
    assert (
        "not both" in command("embed", model, some[0], "--list", some[0].parents[2] / "query.txt").sentence()
    )
    assert "no.txt" in command("embed", model, "--list", tmp_path / "no.txt").sentence()


def test_a_place_that_cannot_be_written_is_told(
    command: Command, model: Path, some: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def embeds(*_: object, **__: object) -> None:
        raise AssertionError("the suffix is looked at before anything is embedded")

    with monkeypatch.context() as patched:
        patched.setattr(Embedder, "encode", embeds)
        assert (
            "must end in .npz or .parquet"
            in command("embed", model, some[0], "--out", tmp_path / "v.csv").sentence()
        )

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    out = tmp_path / "v.npz"
    out.write_bytes(b"older")
    monkeypatch.setattr("lookalike.core.files.os.replace", full)
    told = command("embed", model, some[0], "--out", out).sentence(code=1)
    assert told == f"the disk is full: no space is left for {out}"
    assert out.read_bytes() == b"older"
    assert [path.name for path in tmp_path.iterdir()] == ["v.npz"]


def test_many_pictures_become_shards_that_eval_reads(
    command: Command, model: Path, pictures: Path, tmp_path: Path
) -> None:
    words = ("embed", model, pictures / "pictures", "--folder-labels", "--shard-size", "30")
    out = tmp_path / "many.npz"
    told = command(*words, "--out", out, "--json").json()
    assert told == {"pictures": 72, "size": 16, "broken": [], "out": str(out), "shards": 3, "reused": 0}
    assert [each.name for each in sorted(out.glob("part-*"))] == [f"part-0000{n}.npz" for n in range(3)]
    again = command(*words, "--out", out)
    assert again.out == f"{out}: 72 vectors of 16, in 3 shards of which 3 were there\n"
    assert "3 of 3 shards are there already" in again.err
    assert command(*words[:4], "--out", tmp_path / "one.npz").code == 0
    scored = [
        command("eval", "--features", tmp_path / name, "--json").json()["metrics"]
        for name in ("many.npz", "one.npz")
    ]
    assert scored[0] == scored[1]
    (out / "part-00001.npz").unlink()
    sentence = command("eval", "--features", out).sentence()
    assert "1 of its 3 shards are not there yet, the first is part-00001.npz" in sentence


def test_pictures_in_tar_and_parquet(command: Command, model: Path, some: list[Path], tmp_path: Path) -> None:
    expected = Embedder(model).encode(some[:3])
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for path in some[:3]:
            archive.add(path, f"x/{path.name}")
    told = command("embed", model, tmp_path / "a.tar", "--json").json()["vectors"]
    assert [one["path"] for one in told] == [f"{tmp_path}/a.tar#x/{path.name}" for path in some[:3]]
    np.testing.assert_allclose([one["vector"] for one in told], expected, atol=1e-6)

    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = {"photo": [path.read_bytes() for path in some[:2]] + [b"no picture"], "label": [4, 5, 6]}
    parquet.write_table(pyarrow.table(table), tmp_path / "a.parquet")
    assert "has no column 'image'" in command("embed", model, tmp_path / "a.parquet").sentence()
    found = command("embed", model, tmp_path / "a.parquet", "--image-column", "photo", "--json").json()
    assert [(one["path"][-2:], one["label"]) for one in found["vectors"]] == [("#0", 4), ("#1", 5)]
    assert found["broken"][0].startswith(f"{tmp_path}/a.parquet#2: ")
    np.testing.assert_allclose([one["vector"] for one in found["vectors"]], expected[:2], atol=1e-6)


def test_several_processes_need_a_file(
    command: Command, model: Path, some: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "name one with --out" in command("embed", model, some[0]).sentence()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("{model}", "{picture}", "--root", "."), "--root is the folder that the paths of a list start from"),
        (("{model}", "{picture}", "-o", "Global.batch_size=2"), "-o has no meaning without -c"),
        (("{model}", "{picture}", "--shard-size", "5"), "--shard-size has no meaning without --out"),
        (("{model}", "{picture}", "--image-column", "x"), "--image-column has no meaning without a .parquet"),
        (("{model}", "{picture}", "--label-column", "x"), "--label-column has no meaning without a .parquet"),
        (("{model}", "--list", "l.txt", "--label-column", "x"), "--label-column has no meaning without a"),
        (("{model}", "{folder}/a.tar", "--image-column", "x"), "--image-column has no meaning without a"),
        (("{checkpoint}", "{picture}", "--backend", "onnx"), "--backend has no meaning with a checkpoint"),
        (
            ("{model}", "{picture}", "--engine", "ray", "--backend", "auto"),
            "--backend has no meaning with --en",
        ),
        (
            ("{model}", "{picture}", "--engine", "ray", "--device", "cuda"),
            "--device has no meaning with --engin",
        ),
        (
            ("{model}", "{picture}", "--engine", "ray", "--precision", "bf16"),
            "--precision has no meaning with",
        ),
        (
            ("{model}", "{picture}", "--engine", "ray", "--compile"),
            "--compile has no meaning with --engine ray",
        ),
        (
            ("{model}", "{picture}", "--engine", "ray", "--workers", "2"),
            "--workers has no meaning with --engine",
        ),
    ],
)
def test_options_without_a_meaning_are_refused(
    command: Command, model: Path, checkpoint: Path, some: list[Path], tmp_path: Path, words: tuple[str, ...],
    told: str,
) -> None:  # fmt: skip
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(some[0], "0.png")
    named = {"model": model, "checkpoint": checkpoint, "picture": some[0], "folder": tmp_path}
    given = [word.format(**named) for word in words]
    if "ray" in words:
        given += ["--out", str(tmp_path / "v.npz")]
    assert told in command("embed", *given).sentence()


@pytest.mark.skipif(sys.platform == "darwin", reason="its file systems hold UTF-8 names only")
@pytest.mark.parametrize("words", [("--json",), ("--out", "v.parquet"), ("--out", "v.npz")])
def test_a_name_that_is_not_utf_8_is_refused_before_the_work(
    command: Command, model: Path, some: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
) -> None:  # fmt: skip
    folder = tmp_path / "photos"
    folder.mkdir()
    shutil.copy(some[0], os.fsencode(folder) + b"/caf\xe9.png")

    def embeds(*_: object, **__: object) -> None:
        raise AssertionError("names are looked at before anything is embedded")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Embedder, "stream", embeds)
    sentence = command("embed", model, folder, *words).sentence()
    assert r"photos/caf\xe9.png' is no UTF-8, so no table can hold this name" in sentence
    query = ("--model", model, "--query", folder)
    assert "is no UTF-8" in command("eval", *query, "--csv", "q.csv").sentence()
    assert "is no UTF-8" in command("eval", *query, "--report", "r.html").sentence()
