"""Shards computed on a Ray cluster, as a Ray Dataset of their numbers.

Each worker of Ray opens the model folder once, reads the pictures of a shard where they lie, and writes the
shard in its place: only numbers travel. So all machines must reach model, pictures and `--out` by the same
paths, and what is written is what one process would write.
"""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lookalike.core.errors import UserError, missing_extra
from lookalike.core.log import logger
from lookalike.deploy.batch.chunk import Chunk
from lookalike.deploy.batch.run import computed_in
from lookalike.deploy.batch.shards import Shards
from lookalike.deploy.batch.survey import Survey
from lookalike.deploy.embedder import Embedder


class ShardWorker:
    """What a process of Ray does: a row says the number of a shard."""

    def __init__(self, model: str, found: Survey, shards: Shards, batch_size: int) -> None:
        self.model = Embedder(model, backend="onnx", threads=1)
        self.found, self.shards, self.batch_size = found, shards, batch_size

    def __call__(self, rows: dict[str, Any]) -> dict[str, Any]:
        done = []
        for number in rows["shard"].tolist():
            chunk = Chunk(self.model, self.found.labels, self.found.cameras)
            for _ in chunk.embed(
                self.found.pictures([self.shards.range(number)]), self.batch_size, workers=1
            ):
                pass
            self.shards.write(number, chunk)
            done.append(len(chunk.seen))
        return {"shard": rows["shard"], "pictures": np.array(done, np.int64)}


def check_ray() -> None:
    """Raise UserError where Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        raise missing_extra("ray", "ray", "--engine ray")


def compute_with_ray(
    model: Embedder, found: Survey, shards: Shards, numbers: Sequence[int], batch_size: int
) -> Iterator[None]:
    """Compute and write shards on the cluster that `ray.init` finds (`RAY_ADDRESS`), else on this machine.

    Yields once for each picture that is done. Raises UserError where Ray is not installed, and for a model
    that is no model folder, does not use it as it is, or computes in half precision.
    """
    check_ray()
    if (precision := computed_in(model)) != "fp32":
        raise UserError(
            f"--engine ray computes with onnxruntime, and this model is to compute in {precision}"
        )
    folder = model.folder
    if folder is None or model.preprocess != folder.preprocessing() or model.binarize != folder.binarize:
        raise UserError(
            "--engine ray takes a model folder as it is: export the model, with its preprocessing"
        )
    if not numbers:
        return
    import ray
    import ray.data

    if not ray.is_initialized():
        ray.init(log_to_driver=False)
    cores = int(ray.cluster_resources().get("CPU", 1))
    workers = max(1, min(cores, len(numbers)))
    logger.info(f"{len(numbers)} shards on {workers} workers of Ray")
    dataset = ray.data.from_items([{"shard": number} for number in numbers], override_num_blocks=len(numbers))
    written = dataset.map_batches(
        ShardWorker,
        fn_constructor_args=(str(Path(folder.path).resolve()), found, shards, batch_size),
        batch_size=1,
        num_cpus=1,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=workers),
    )
    for row in written.iter_rows():
        yield from itertools.repeat(None, int(row["pictures"]))
