"""Large extractions: shards, what is kept of a killed one, several processes, full disks."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lookalike.core.errors import LookalikeError, UserError
from lookalike.deploy.batch.run import Outcome, extract_to
from lookalike.deploy.batch.sources import open_sources
from lookalike.deploy.batch.survey import survey
from lookalike.deploy.embedder import Embedder
from lookalike.images import Preprocess
from lookalike.images.feature_files import read_features
from lookalike.images.feature_shards import STATE
from tests.conftest import REPOSITORY

PER_SHARD = 5


class MeanColour:
    """A model whose vector is the mean colour; it counts its pictures, and may do something at the n-th."""

    def __init__(self, at: int | None = None, then: Callable[[], None] = lambda: None) -> None:
        self.seen, self.at, self.then = 0, at, then
        self.precision = "fp32"

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        self.seen += len(batch)
        if self.at is not None and self.seen >= self.at:
            self.then()
        return batch.mean(axis=(2, 3))


def model_of(runtime: MeanColour, fingerprint: str = "a") -> Embedder:
    preprocess = Preprocess([{"ResizeImage": {"size": [8, 8]}}])
    return Embedder.of(runtime, preprocess, 3, None, fingerprint, "mean colour")


def extract(
    source: Path, out: Path, runtime: MeanColour | None = None, fingerprint: str = "a", **options: Any
) -> Outcome:
    found = survey(open_sources([str(source)], folder_labels=True))
    chosen = {"shard_size": PER_SHARD, "batch_size": 2, "workers": 2, **options}
    return extract_to(out, model_of(runtime or MeanColour(), fingerprint), found, **chosen)


@pytest.fixture
def source(pictures: Path, tmp_path: Path) -> Path:
    """17 pictures: 8 of a class, a broken one, and 8 of another class."""
    folder = tmp_path / "source"
    folder.mkdir()
    for label in (6, 7):
        copy = folder / f"class {label}"
        copy.mkdir()
        for file in (pictures / "pictures" / f"class {label}").iterdir():
            (copy / file.name).write_bytes(file.read_bytes())
    (folder / "class 6" / "broken.png").write_bytes(b"no picture")
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "vectors.npz"


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Time of change and bytes of all files but the state."""
    return {
        each.name: (each.stat().st_mtime_ns, each.read_bytes())
        for each in sorted(folder.iterdir())
        if each.name != STATE
    }


@pytest.mark.parametrize("suffix", ["npz", "parquet"])
def test_shards_are_read_like_one_file(source: Path, tmp_path: Path, suffix: str) -> None:
    if suffix == "parquet":
        pytest.importorskip("pyarrow")
    one, many = tmp_path / f"one.{suffix}", tmp_path / f"many.{suffix}"
    single = extract(source, one, shard_size=17)
    assert (single.vectors, single.shards, len(single.broken)) == (16, 0, 1)
    outcome = extract(source, many)
    assert (outcome.vectors, outcome.shards, outcome.reused) == (16, 4, 0)
    assert [each.name for each in sorted(many.iterdir())] == [
        STATE,
        *(f"part-0000{number}.{suffix}" for number in range(4)),
    ]
    if suffix == "parquet":  # other readers of Parquet pass over names that begin so
        assert importlib.import_module("pyarrow.parquet").read_table(many).num_rows == 16
    whole, parts = read_features(one), read_features(many)
    np.testing.assert_array_equal(parts.vectors, whole.vectors)
    assert parts.paths == whole.paths == sorted(whole.paths)
    assert parts.labels.tolist() == whole.labels.tolist() == ["class 6"] * 8 + ["class 7"] * 8
    assert [len(read_features(each)) for each in sorted(many.glob("part*"))] == [5, 4, 5, 2]
    state = json.loads((many / STATE).read_text(encoding="utf-8"))
    assert state["finished"]["vectors"] == 16
    assert [each["path"] for each in state["finished"]["broken"]] == [str(source / "class 6" / "broken.png")]
    assert (state["model"]["fingerprint"], state["sources"]["pictures"]) == ("a", 17)


def test_a_killed_extraction_goes_on(source: Path, out: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole.npz"
    extract(source, whole)
    script = (
        "import os, signal; from pathlib import Path; from tests.deploy.batch.test_run import *\n"
        f"extract(Path({str(source)!r}), Path({str(out)!r}), "
        "MeanColour(12, lambda: os.kill(os.getpid(), signal.SIGKILL)), workers=1)"
    )
    killed = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    kept = contents(out)
    assert list(kept) == ["part-00000.npz", "part-00001.npz"]
    with pytest.raises(UserError, match=r"2 of its 4 shards are not there yet.*goes on where it stopped"):
        read_features(out)
    for name, age in (("killed", 25 * 3600), ("running", 3600)):  # another may still write the younger one
        part = out / f".part-00002.npz.{name}.part"
        part.touch()
        os.utime(part, (time.time() - age,) * 2)
    runtime = MeanColour()
    outcome = extract(source, out, runtime)
    assert (outcome.vectors, outcome.shards, outcome.reused, len(outcome.broken)) == (16, 4, 2, 1)
    assert runtime.seen == 7  # nothing of the first two shards
    assert [each.name for each in out.glob(".*.part")] == [".part-00002.npz.running.part"]
    (out / ".part-00002.npz.running.part").unlink()
    after = contents(out)
    assert {name: after[name] for name in kept} == kept
    assert [data for _, data in after.values()] == [data for _, data in contents(whole).values()]
    again = MeanColour()
    assert extract(source, out, again).reused == 4
    assert again.seen == 0


def test_several_processes_write_what_one_writes(
    source: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract(source, tmp_path / "whole.npz")
    monkeypatch.setenv("WORLD_SIZE", "2")
    seen = {}
    for rank in (1, 0):  # the first process waits for the others
        monkeypatch.setenv("RANK", str(rank))
        runtime = MeanColour()
        outcome = extract(source, out, runtime)
        seen[rank] = runtime.seen
    assert seen == {0: 5 + 5, 1: 4 + 2}
    assert outcome.vectors == 16
    assert len(outcome.broken) == 1  # that of the other process
    assert {name: data for name, (_, data) in contents(out).items()} == {
        name: data for name, (_, data) in contents(tmp_path / "whole.npz").items()
    }
    assert (out / STATE).read_text() == (tmp_path / "whole.npz" / STATE).read_text()


def test_another_extraction_is_refused(source: Path, out: Path, tmp_path: Path) -> None:
    extract(source, out)
    what_to_do = "give the command it was begun with, or name another --out, or remove the folder"
    with pytest.raises(UserError, match=rf"begun with another model \(fingerprint: a, now b\): {what_to_do}"):
        extract(source, out, fingerprint="b")
    with pytest.raises(UserError, match=r"begun with other options \(shard size: 5, now 4\)"):
        extract(source, out, shard_size=4)
    with pytest.raises(UserError, match="is a folder, and 17 pictures become one file"):
        extract(source, out, shard_size=17)
    half = MeanColour()
    half.precision = "fp16"
    with pytest.raises(UserError, match=r"begun with other options \(precision: fp32, now fp16\)"):
        extract(source, out, half)
    half_out = tmp_path / "half.npz"
    extract(source, half_out, half)
    with pytest.raises(UserError, match=r"begun with other options \(precision: fp16, now fp32\)"):
        extract(source, half_out)
    (source / "class 6" / "broken.png").unlink()
    with pytest.raises(UserError, match=r"begun with other pictures \(pictures: 17, now 16\)"):
        extract(source, out)
    (source / "class 6" / "other.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"begun with other pictures \(digest: "):
        extract(source, out)
    (tmp_path / "mine.npz").mkdir()
    (tmp_path / "mine.npz" / "thesis.txt").touch()
    with pytest.raises(
        UserError, match=r"no vectors of 'lookalike embed' but thesis.txt: name another --out"
    ):
        extract(source, tmp_path / "mine.npz")
    (tmp_path / "file.npz").touch()
    with pytest.raises(UserError, match="is a file, and 17 pictures become a folder of 4 shards"):
        extract(source, tmp_path / "file.npz")
    with pytest.raises(UserError, match=r"--out .*/vectors.npz cannot be written: Not a directory"):
        extract(source, tmp_path / "file.npz" / "vectors.npz")
    (out / STATE).write_text("{")
    with pytest.raises(UserError, match=f"{STATE} is damaged"):
        extract(source, out)


def test_what_an_earlier_release_began_goes_on(source: Path, out: Path) -> None:
    extract(source, out)
    state = json.loads((out / STATE).read_text(encoding="utf-8"))
    del state["options"]["precision"]  # it wrote that of half precision only
    (out / STATE).write_text(json.dumps(state), encoding="utf-8")
    assert extract(source, out).reused == 4
    state["options"]["of a later release"] = 1
    (out / STATE).write_text(json.dumps(state), encoding="utf-8")
    with pytest.raises(UserError, match=r"other options \(of a later release: 1, now None\)"):
        extract(source, out)


def test_an_engine_needs_several_shards(source: Path, out: Path) -> None:
    with pytest.raises(UserError, match="17 pictures are one shard, and an engine computes several at once"):
        extract(source, out, shard_size=17, engine=lambda *_: iter(()))
    assert not out.exists()


def test_finished_shards_stay_when_the_disk_is_full(
    source: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace

    def full(written: str, name: Path) -> None:
        if Path(name).name == "part-00002.npz":
            raise OSError(28, "No space left on device")
        replace(written, name)

    with monkeypatch.context() as patched:
        patched.setattr("lookalike.core.files.os.replace", full)
        with pytest.raises(
            LookalikeError,
            match=r"the disk is full: no space is left for .*: 2 of its 4 shards are finished; free some and",
        ) as caught:
            extract(source, out)
    assert caught.value.exit_code == 1
    assert sorted(contents(out)) == ["part-00000.npz", "part-00001.npz"]
    assert extract(source, out).reused == 2
    assert len(read_features(out)) == 16


def test_ctrl_c_leaves_finished_shards(source: Path, out: Path) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(source, out, MeanColour(12, stop), workers=1)
    assert sorted(contents(out)) == ["part-00000.npz", "part-00001.npz"]
    assert extract(source, out).reused == 2


def test_damaged_shards_are_made_anew(source: Path, out: Path, caplog: pytest.LogCaptureFixture) -> None:
    extract(source, out)
    whole = [data for _, data in contents(out).values()]
    for number, damage in ((0, b""), (2, whole[2][:500])):
        (out / f"part-0000{number}.npz").write_bytes(damage)
    runtime = MeanColour()
    assert extract(source, out, runtime).reused == 2
    assert runtime.seen == 10
    assert [data for _, data in contents(out).values()] == whole
    assert "part-00000.npz is damaged and made anew" in caplog.text


def test_nothing_that_can_be_read(tmp_path: Path, out: Path) -> None:
    for number in range(6):
        (tmp_path / f"{number}.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"none of the 6 pictures could be read, the first: .*0.png"):
        extract(tmp_path, out)
    with pytest.raises(UserError, match="none of the 6 pictures could be read"):
        extract(tmp_path, tmp_path / "one.npz", shard_size=6)
    assert not (tmp_path / "one.npz").exists()
    with pytest.raises(UserError, match="there are no vectors in it"):
        read_features(out)


def test_pictures_are_read_when_they_are_needed(
    source: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead: list[int] = []
    runtime = MeanColour()
    listed = Preprocess.__call__
    begun = [0]

    def counted(self: Preprocess, *arguments: Any, **options: Any) -> np.ndarray:
        begun[0] += 1
        ahead.append(begun[0] - runtime.seen)
        return listed(self, *arguments, **options)

    monkeypatch.setattr(Preprocess, "__call__", counted)
    extract(source, out, runtime, shard_size=16)
    assert begun[0] == 17
    assert (
        max(ahead) <= 2 * 4 + 1
    )  # batches of two: at most those of two workers and two that wait, one broken
