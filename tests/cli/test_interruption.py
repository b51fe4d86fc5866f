"""A run that Ctrl-C, a full disk or a limit ends leaves a checkpoint to go on from."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file

from lookalike.data import build_loader
from lookalike.training import checkpoint as checkpoints
from tests.cli.conftest import Command
from tests.conftest import REPOSITORY
from tests.tiny import recipe_values


def test_ctrl_c_leaves_a_checkpoint_to_go_on_from(command: Command, pictures: Path, tmp_path: Path) -> None:
    values = recipe_values(pictures, tmp_path / "out", epochs=500, num_workers=1)
    values["Global"] |= {"print_batch_step": 1, "eval_during_train": False}
    file = tmp_path / "long.yaml"
    file.write_text(yaml.safe_dump(values), encoding="utf-8")
    running = subprocess.Popen(
        [sys.executable, "-m", "lookalike", "train", "-c", str(file)], cwd=REPOSITORY, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    log, started = tmp_path / "out/RecModel/train.log", time.monotonic()
    while time.monotonic() - started < 120 and running.poll() is None:
        if log.is_file() and "[Iter: 3/6]" in log.read_text(encoding="utf-8"):
            break
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does: the processes that load pictures get it, too
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    assert "Traceback" not in err
    assert "stopped by SIGINT" in err
    assert err.splitlines()[-1] == "lookalike: stopped"
    latest = tmp_path / "out/RecModel/latest"
    assert str(latest) in err  # says how to go on
    state = json.loads((latest / "state/training.json").read_text())
    assert out.splitlines()[-1] == str(latest.parent)
    last = state["epoch"]
    resumed = command(
        "train", "-c", file, "-o", f"checkpoints={latest}", "-o", f"epochs={last}", "--json"
    ).json()
    assert resumed["epochs"] == last
    assert resumed["interrupted"] is None


def test_sigterm_tidies_up_like_ctrl_c(model: Path, pictures: Path, tmp_path: Path) -> None:
    words = ["gallery", "create", str(tmp_path / "my.gallery"), "--model", str(model), str(pictures)]
    started = subprocess.Popen(
        [sys.executable, "-c", _WAITING, *words],
        cwd=REPOSITORY,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "embedding\n"
    started.send_signal(signal.SIGTERM)
    _, err = started.communicate(timeout=60)
    assert started.returncode == 130, err
    assert err.splitlines()[-1] == "lookalike: stopped"
    assert list(tmp_path.iterdir()) == []


_WAITING = """
import sys, time
from lookalike.cli.main import run
from lookalike.deploy import Embedder

def encode(self, *arguments, **options):
    print("embedding", flush=True)
    time.sleep(60)

Embedder.encode = encode
sys.argv[0] = "lookalike"
run()
"""


def test_a_run_that_fails_ends_with_the_processes_that_load_pictures(pictures: Path, tmp_path: Path) -> None:
    """They let SIGTERM pass, by which Python would end them: it once waited for them for ever."""
    values = recipe_values(pictures, tmp_path / "out", num_workers=2)
    values["Optimizer"]["lr"] = {"name": "Constant", "learning_rate": 1e20}
    file = tmp_path / "diverging.yaml"
    file.write_text(yaml.safe_dump(values), encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, "-m", "lookalike", "train", "-c", str(file)], cwd=REPOSITORY, text=True,
        capture_output=True, timeout=120, check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    assert "CELoss became nan" in ended.stderr.splitlines()[-1]


def test_the_processes_that_load_pictures_leave_stopping_to_the_run(pictures: Path, tmp_path: Path) -> None:
    section = recipe_values(pictures, tmp_path, num_workers=1)["DataLoader"]["Train"]
    loader = build_loader(section, seed=0, rank=0, world_size=1, epochs=1, training=True)
    others = set(multiprocessing.active_children())
    batches = iter(loader)
    next(batches)
    (worker,) = set(multiprocessing.active_children()) - others
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(worker.pid or 0, number)
        time.sleep(0.1)
    assert len(list(batches)) == len(loader) - 1


def test_a_full_disk_is_one_sentence_and_the_older_checkpoint_stays(
    command: Command, recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    latest = tmp_path / "out" / "RecModel" / "latest"
    assert command("train", "-c", recipe_file, "-o", "epochs=1").code == 0
    before = {path.name: path.read_bytes() for path in latest.rglob("*") if path.is_file()}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    def unharmed() -> bool:
        hidden = [path.name for path in latest.parent.iterdir() if path.name.startswith(".")]
        return not hidden and before == {
            path.name: path.read_bytes() for path in latest.rglob("*") if path.is_file()
        }

    with monkeypatch.context() as patched:
        patched.setattr("lookalike.core.files.os.replace", full)
        told = command("train", "-c", recipe_file, "-o", "epochs=1").sentence(code=1)
    assert (
        told == f"the disk is full: no space is left for {latest.parent / 'best_model'}; "
        "the older best_model is unharmed"
    )
    assert unharmed()

    # the real thing, as each library meets it: no file may grow beyond a limit
    for limit in (10_000, 200_000):
        sizes = sorted(path.stat().st_size for path in latest.rglob("*") if path.is_file())
        assert sizes[-1] > limit
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        monkeypatch.setattr(checkpoints, "random_state", lambda device: {})
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            told = command("train", "-c", recipe_file, "-o", "epochs=1").sentence(code=1)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert "could not be written: " in told
        assert "File too large" in told
        assert unharmed()
    assert load_file(latest / "model.safetensors")


@pytest.mark.parametrize("part", ["training.pt", "model.safetensors", "training.json"])
def test_a_damaged_checkpoint_is_one_sentence(
    command: Command, recipe_file: Path, trained: Path, tmp_path: Path, part: str
) -> None:
    damaged = Path(shutil.copytree(trained / "RecModel" / "latest", tmp_path / "latest"))
    file = next(damaged.rglob(part))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    told = command("train", "-c", recipe_file, "-o", f"checkpoints={damaged}", "-o", "epochs=3").sentence()
    assert "latest" in told
    assert part in told
    assert "damaged" in told
