"""init → check → train, by the command line."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lookalike import load_recipe, train
from lookalike.cli import main
from lookalike.doctor import check_recipe, init_recipe
from tests.doctor.pictures import draw_classes


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """The command line within this process: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["lookalike", *arguments])
        with pytest.raises(SystemExit) as left:
            main.run()
        printed = capsys.readouterr()
        return int(left.value.code or 0), printed.out, printed.err

    return call


@pytest.mark.parametrize("counts", [[6] * 10, [7, 7, 7]])
def test_what_init_writes_passes_the_check_and_trains(
    counts: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    draw_classes(tmp_path / "data", counts)
    init_recipe("data", "my.yaml", backbone="Conv4", size=16, epochs=1)
    report = check_recipe("my.yaml")
    assert report.ok, report.text()
    assert all("figures say little" in warning for warning in report.warnings)
    result = train(load_recipe("my.yaml", ["Global.tensorboard=False"]))
    assert 0 <= result.metrics["recall1"] <= 1
    assert (tmp_path / "output" / "RecModel" / "best_model").is_dir()


def test_a_network_of_timm_from_scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    draw_classes(tmp_path / "data", [6] * 8)
    init_recipe("data", "my.yaml", backbone="timm/lcnet_035", size=32, epochs=1, pretrained=False)
    workers = [f"DataLoader.{part}.loader.num_workers=0" for part in ("Train", "Validation", "Eval.Query")]
    recipe = load_recipe(
        "my.yaml", [*workers, "DataLoader.Eval.Gallery.loader.num_workers=0", "Global.tensorboard=False"]
    )
    assert train(recipe).metrics


def test_the_block_of_the_readme(
    tmp_path: Path, run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    block = readme.partition("## Your own pictures")[2].partition("```sh\n")[2].partition("```")[0]
    commands = [shlex.split(line, comments=True) for line in block.splitlines()]
    assert [command[:2] for command in commands] == [
        *(
            ["lookalike", verb]
            for verb in ("init", "check", "train", "export", "gallery", "calibrate", "search")
        )
    ]
    draw_classes(tmp_path / "my_pictures", [6] * 8, grey=True)  # small and grey: a small network
    draw_classes(tmp_path / "other_pictures", [6] * 4, grey=True)
    (tmp_path / "photo.jpg").write_bytes((tmp_path / "my_pictures" / "class 3" / "2.png").read_bytes())
    for number, (_, *arguments) in enumerate(commands):
        code, out, err = run(*arguments)
        assert code == 0, f"{arguments}: {out}{err}"
        if number == 0:
            assert [f"  {shlex.join(each)}" for each in commands[1:5]] == out.splitlines()[-4:]
            text = (tmp_path / "my.yaml").read_text(encoding="utf-8")
            assert "--size" in text.partition("image_shape")[2].splitlines()[0]
            text = re.sub(r"(?m)^  epochs: \d+", "  tensorboard: False\n  epochs: 1", text)
            (tmp_path / "my.yaml").write_text(text, encoding="utf-8")
        if arguments[0] == "check":
            assert "figures say little" in out
    first = out.splitlines()[1]
    assert "class 3" in first
    assert first.split()[0].startswith(("1.0", "0.99"))


def test_places_that_cannot_be_written_and_a_picture_are_one_sentence(
    tmp_path: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    draw_classes(tmp_path / "data", [6] * 8, grey=True)
    (tmp_path / "file").write_bytes(b"")
    for place in ("file/my.yaml", *(["/proc/my.yaml"] if Path("/proc").is_dir() else [])):
        code, _, err = run("init", "data", "-o", place)
        assert code == 2
        assert err.count("\n") == 1
        assert "nothing can be written into" in err
    code, _, err = run("init", "data/class 0/0.png", "-o", "my.yaml")
    assert code == 2
    assert "is a picture, not a folder or list" in err


def test_the_verbs(tmp_path: Path, run: Callable[..., tuple[int, str, str]]) -> None:
    draw_classes(tmp_path / "data", [6] * 8, grey=True)
    code, out, err = run("init", "data", "-o", "my.yaml", "--epochs", "1", "--json")
    assert code == 0, err
    told: dict[str, Any] = json.loads(out)
    assert told["recipe"] == "my.yaml"
    assert told["backbone"] == "Conv4"
    code, _, err = run("init", "data", "-o", "my.yaml")
    assert code == 2
    assert "--force" in err
    code, out, err = run("check", "-c", "my.yaml", "--json")
    assert code == 0, err
    assert {"ok", "problems", "warnings", "memory_mb", "seconds_per_epoch"} <= set(json.loads(out))
    code, out, _ = run("check", "-c", "my.yaml", "-o", "Arch.Head.class_num=3", "-o", "Global.epoch=1")
    assert code == 2
    assert out.count("✗") == 2
    assert "2 problems" in out
