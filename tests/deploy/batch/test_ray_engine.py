"""Shards on a local Ray: the same as without it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest

from lookalike.core.errors import UserError
from lookalike.deploy.batch.ray_engine import compute_with_ray
from lookalike.deploy.batch.shards import Shards
from lookalike.deploy.batch.survey import Survey
from lookalike.deploy.embedder import Embedder
from lookalike.images import Preprocess
from tests.cli.conftest import Command, command

__all__ = ["command"]  # the fixture


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="Ray is installed here")
def test_without_ray_the_extra_is_named(command: Command, trained: Path, tmp_path: Path) -> None:
    told = command("embed", trained / "inference", tmp_path, "--out", tmp_path / "v.npz", "--engine", "ray")
    assert "--engine ray needs ray, which is not installed: pip install 'lookalike[ray]'" in told.sentence()


def test_half_precision_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("lookalike.deploy.batch.ray_engine.check_ray", lambda: None)
    runtime = SimpleNamespace(precision="bf16")
    model = Embedder.of(runtime, Preprocess([{"ResizeImage": {"size": [8, 8]}}]), 3, None, "a", "half")
    shards = Shards(tmp_path / "v.npz", 20, 10, {"model": {}, "sources": {}})
    with pytest.raises(UserError, match="with onnxruntime, and this model is to compute in bf16"):
        next(compute_with_ray(model, Survey([], [], None, False, ""), shards, [0], 1))


@pytest.mark.skipif(
    importlib.util.find_spec("ray") is None,
    reason="Ray is not installed: pip install 'lookalike[ray]' (it is no part of what tests install)",
)
def test_ray_writes_what_one_process_writes(
    command: Command, trained: Path, pictures: Path, tmp_path: Path
) -> None:
    import ray

    def embed(out: Path, *words: str) -> dict[str, object]:
        options = ("--folder-labels", "--shard-size", "10", "--out", out, *words)
        return command("embed", trained / "inference", pictures / "pictures", *options, "--json").json()

    try:
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        alone, shared = tmp_path / "alone.npz", tmp_path / "shared.npz"
        expected = embed(alone)
        assert embed(shared, "--engine", "ray") == {**expected, "out": str(shared)}
        assert expected["shards"] == 8
        files = sorted(each.name for each in alone.iterdir())
        assert sorted(each.name for each in shared.iterdir()) == files
        for name in files:
            assert (shared / name).read_bytes() == (alone / name).read_bytes()
        (shared / "part-00003.npz").unlink()
        assert embed(shared, "--engine", "ray")["reused"] == 7
        assert (shared / "part-00003.npz").read_bytes() == (alone / "part-00003.npz").read_bytes()
    finally:
        ray.shutdown()
