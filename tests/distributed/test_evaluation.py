"""Two processes that share an evaluation find exactly what one finds."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lookalike.evaluation import (
    build_accuracies,
    build_metrics,
    evaluate,
    evaluate_classes,
    evaluate_pairs,
)
from lookalike.images.records import Pairs
from lookalike.recipe import Views
from tests.conftest import REPOSITORY
from tests.evaluation.loaders import Vectors, random_set

METRICS = ["Recallk", "mAP", "mINP", "Precisionk"]


def shard(whole: Vectors, rank: int, world_size: int) -> Vectors:
    """The share of a rank in batches of 4, padded with the first rows so that all have as many batches."""
    rows = np.arange(len(whole.features))
    padded = np.concatenate([rows, rows[: -len(rows) % (4 * world_size)]]).reshape(-1, world_size, 4)
    return Vectors(
        whole.features, whole.labels, whole.cameras, whole.paths, 4, padded[:, rank].reshape(-1),
        broken={f"{rank}.png": "missing", "both.png": "missing"},
    )  # fmt: skip


def sets() -> tuple[Vectors, Vectors]:
    return random_set(27, 1, cameras=True), random_set(41, 2, cameras=True)


def loss(outputs, labels):
    return {"loss": outputs.mean()}


def classified(data: Vectors) -> dict[str, object]:
    """The first vectors as class scores."""
    found = evaluate_classes(lambda x: {"logits": x}, data, build_accuracies([{"TopkAcc": {"topk": [1, 3]}}]))
    return found.to_dict() | {"seconds": 0}


def verified(data: Vectors) -> dict[str, object]:
    rows = np.arange(27)
    pairs = Pairs(rows, (rows * 4 + 1) % 27, data.labels[rows] == data.labels[(rows * 4 + 1) % 27])
    return evaluate_pairs(lambda x: x, data, {"lfw": pairs}).to_dict() | {"seconds": 0}


def sentence(run: Callable[[], object]) -> tuple[str, str]:
    """The error that a call ends with."""
    with pytest.raises(Exception) as caught:  # noqa: PT011  (which one is compared by the caller)
        run()
    return type(caught.value).__name__, str(caught.value)


def run_rank(rank: int, world_size: int) -> dict[str, object]:
    query, gallery = (shard(each, rank, world_size) for each in sets())
    found = evaluate(
        lambda x: x, query, gallery, build_metrics(METRICS), keep_features=True, top_k=3, loss=loss
    )
    alone = evaluate(lambda x: x, gallery)
    mirrored = evaluate(lambda x: x, query, gallery, views=Views(flip=True))
    # a process that gets no image at all
    empty = Vectors(
        gallery.features, gallery.labels, gallery.cameras, order=np.arange(41 if rank == 0 else 0)
    )

    def fail_on_second(images):
        if rank == 1:
            raise RuntimeError("out of memory")
        return images

    return {
        "found": found.to_dict() | {"seconds": 0},
        "alone": alone.metrics,
        "mirrored": mirrored.metrics,
        "classified": classified(query),
        "verified": verified(query),
        "empty": evaluate(lambda x: x, empty).metrics,
        "diverged": sentence(lambda: evaluate(lambda x: x * float("nan"), gallery)),
        "failed": sentence(lambda: evaluate(fail_on_second, gallery)),
        "top_k": found.top_k.indices.tolist() if found.top_k else None,
        "first_hits": found.result.first_hit_rank.tolist() if found.result else None,
        "has_features": found.query_set is not None,
    }


def test_two_processes_equal_one(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": "lo",
    }  # fmt: skip
    command = [sys.executable, "-m", "tests.distributed.test_evaluation", str(tmp_path)]
    running = [
        subprocess.Popen(command, cwd=REPOSITORY, env=environment | {"RANK": str(rank)}) for rank in range(2)
    ]
    try:
        assert [process.wait(timeout=120) for process in running] == [0, 0]
    finally:
        for process in running:
            process.kill()
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))

    query, gallery = sets()
    expected = evaluate(lambda x: x, query, gallery, build_metrics(METRICS), top_k=3)
    for result in (first, second):
        assert result["found"]["metrics"] == expected.metrics  # to the last bit
        assert result["alone"] == result["empty"] == evaluate(lambda x: x, gallery).metrics
        assert result["mirrored"] == evaluate(lambda x: x, query, gallery, views=Views(flip=True)).metrics
        for name, judged in (("classified", classified(query)), ("verified", verified(query))):
            assert 0 < next(iter(judged["metrics"].values())) < 1
            assert result[name]["metrics"] == judged["metrics"]
            assert result[name]["images"] == 27
            assert len(result[name]["broken"]) == 3
        assert result["diverged"][0] == "UserError"
        assert "NaN or infinite features for 41 of 41 query images" in result["diverged"][1]
        assert result["failed"][1] == "out of memory"
        assert (result["found"]["queries"], result["found"]["gallery"]) == (27, 41)
        assert [each["path"] for each in result["found"]["broken"]] == ["0.png", "both.png", "1.png"]
        rows = np.concatenate([shard(query, rank, 2).order for rank in range(2)])
        assert result["found"]["losses"]["loss"] == pytest.approx(query.features[rows].mean(), abs=1e-6)
    assert (first["failed"][0], second["failed"][0]) == ("LookalikeError", "RuntimeError")
    assert first["found"] == second["found"]
    assert first["top_k"] == expected.top_k.indices.tolist()
    assert first["first_hits"] == expected.result.first_hit_rank.tolist()
    assert second["first_hits"] is None
    assert (first["has_features"], second["has_features"], second["top_k"]) == (True, False, None)


def main(folder: str) -> None:
    import torch.distributed as dist

    rank = int(os.environ["RANK"])
    dist.init_process_group("gloo", rank=rank, world_size=2)
    (Path(folder) / f"{rank}.json").write_text(json.dumps(run_rank(rank, 2)))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
