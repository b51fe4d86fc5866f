"""Two processes: files are written once, weights are alike, an interrupted run ends with the same bits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from lookalike import Recipe, evaluate
from tests.conftest import REPOSITORY
from tests.distributed.driver import values
from tests.training.runs import differing_tensors

LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]


def launch(*words: str | Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(
        [*LAUNCH, *map(str, words)],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def folder(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run by the command line in `whole`, an interrupted and resumed one in `parts`."""
    folder = tmp_path_factory.mktemp("two processes")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(values(pictures, folder / "whole")), encoding="utf-8")
    told = launch("lookalike", "train", "-c", folder / "tiny.yaml", "--json")
    (folder / "stdout.txt").write_text(told.stdout, encoding="utf-8")
    (folder / "stderr.txt").write_text(told.stderr, encoding="utf-8")
    launch("tests.distributed.driver", folder, pictures)
    return folder


@pytest.fixture(scope="module")
def ranks(folder: Path) -> list[dict[str, Any]]:
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


def test_only_one_process_writes(folder: Path) -> None:
    told = json.loads((folder / "stdout.txt").read_text())
    assert told["epochs"] == 2
    assert told["iterations"] == 6  # 48 pictures in batches of 8 on each of two processes
    log = (folder / "whole" / "RecModel" / "train.log").read_text()
    assert log.count("[Train][Epoch 1/2][Avg]") == log.count("[Eval][Epoch 2][Avg]") == 1
    assert "2 processes" in log
    assert (folder / "stderr.txt").read_text().count("[Train][Epoch 1/2][Avg]") == 1
    assert sorted(path.name for path in (folder / "whole" / "RecModel").iterdir()) == [
        "best_model", "latest", "train.log",
    ]  # fmt: skip


def test_the_processes_hold_the_same(ranks: list[dict[str, Any]]) -> None:
    assert ranks[0]["weights"] == ranks[1]["weights"]
    assert ranks[0]["metrics"] == ranks[1]["metrics"]
    assert ranks[0]["best_metric"] == ranks[1]["best_metric"]
    assert ranks[0]["peers"] == ranks[1]["peers"]


def test_a_signal_to_one_process_stops_both(ranks: list[dict[str, Any]]) -> None:
    assert [each["stopped"] for each in ranks] == ["another process", "SIGINT"]
    assert [each["stopped_after"] for each in ranks] == [2, 2]


def test_resumed_equals_uninterrupted(folder: Path, ranks: list[dict[str, Any]]) -> None:
    for name in ("latest", "best_model"):
        assert differing_tensors(folder / "whole/RecModel" / name, folder / "parts/RecModel" / name) == []
    told = json.loads((folder / "stdout.txt").read_text())
    assert ranks[0]["metrics"] == told["metrics"]
    histories = [
        json.loads((folder / part / "RecModel/latest/state/training.json").read_text())["history"]
        for part in ("whole", "parts")
    ]
    assert histories[0] == histories[1]


def test_evaluation_on_two_processes_equals_one(
    folder: Path, pictures: Path, ranks: list[dict[str, Any]]
) -> None:
    recipe = values(pictures, folder / "alone")  # 9 queries: not a multiple of two batches of 8
    recipe["Global"]["pretrained_model"] = str(folder / "whole/RecModel/best_model")
    alone = evaluate(Recipe.from_dict(recipe)).to_dict() | {"seconds": 0}
    assert ranks[0]["eval"] == ranks[1]["eval"] == alone
    assert alone["queries"] == 9
    # the run told the figures of the weights it kept: not each process those of its own batch norms
    assert alone["metrics"]["recall1"] == json.loads((folder / "stdout.txt").read_text())["best_metric"]
    history = json.loads((folder / "whole/RecModel/best_model/state/training.json").read_text())["history"]
    assert alone["metrics"] == history[-1]["eval"]
