"""`lookalike embed`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import typer

from lookalike.cli.models import of_pytorch, open_model
from lookalike.cli.options import Json, Overrides, answer, application, warn_of_unused
from lookalike.cli.pictures import refuse_root_alone
from lookalike.core import process
from lookalike.core.component import Section
from lookalike.core.errors import BrokenImage, UserError
from lookalike.core.log import logger, start_console
from lookalike.images.feature_files import check_kind
from lookalike.images.feature_table import FeatureTable

if TYPE_CHECKING:
    from lookalike.deploy.batch.run import Outcome
    from lookalike.deploy.batch.source import Source
    from lookalike.deploy.embedder import Embedder

app = application("Turn pictures into vectors with a model folder, or a training checkpoint.")


@app.command()
def embed(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL_FOLDER IMAGES…",
            help="Model folder, then files, folders, globs, .tar shards, .parquet with pictures.",
        ),
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(
            "-c", "--config", help="Recipe, or a deploy YAML (inference_rec.yaml); then only images."
        ),
    ] = None,
    override: Overrides = [],
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            help="Write vectors, paths, labels, cameras to FILE.npz or FILE.parquet (-1: none is known); a "
            "folder of that name where there are more pictures than --shard-size.",
        ),
    ] = None,
    shard_size: Annotated[
        int | None,
        typer.Option(
            "--shard-size",
            min=1,
            help="Pictures in a file of --out (default: 10,000); what is finished is kept.",
        ),
    ] = None,
    list_file: Annotated[
        str | None, typer.Option("--list", help="List file: path label [camera] a line, or a .csv.")
    ] = None,
    root: Annotated[
        str | None, typer.Option("--root", help="Folder that the paths of --list start from.")
    ] = None,
    folder_labels: Annotated[
        bool,
        typer.Option("--folder-labels", help="The label of a picture is the name of its folder."),
    ] = False,
    image_column: Annotated[
        str | None,
        typer.Option("--image-column", help="Column of .parquet files with the pictures (default: image)."),
    ] = None,
    label_column: Annotated[
        str | None,
        typer.Option(
            "--label-column",
            help="Their column with the labels ('': none), or key in the .json of .tar files (label).",
        ),
    ] = None,
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option("--engine", help="Who computes: this process, or a Ray cluster (lookalike[ray])."),
    ] = "local",
    backend: Annotated[
        str | None,
        typer.Option(
            "--backend",
            help="What runs a model folder: onnx, openvino, torch, auto (default: onnx; on a GPU auto).",
        ),
    ] = None,
    device: Annotated[str, typer.Option("--device", help="cpu, or a GPU: cuda, cuda:1.")] = "cpu",
    precision: Annotated[
        Literal["fp32", "fp16", "bf16"],
        typer.Option("--precision", help="What layers compute in, by PyTorch."),
    ] = "fp32",
    compile: Annotated[
        bool,
        typer.Option("--compile", help="torch.compile first: a minute, which pays for many pictures."),
    ] = False,
    layer: Annotated[
        list[str],
        typer.Option(
            "--layer", help="Feature of any layer, from a checkpoint; several are joined, in their order."
        ),
    ] = [],
    batch_size: Annotated[
        int | None,
        typer.Option("--batch-size", min=1, help="Pictures at a time (default: Global.batch_size, 32)."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, help="Threads (default: OMP_NUM_THREADS, else the cores)."),
    ] = None,
    json: Json = False,
) -> None:
    from lookalike.deploy.batch.ray_engine import check_ray, compute_with_ray
    from lookalike.deploy.batch.run import SHARD_SIZE, embed_pictures, extract_to
    from lookalike.deploy.batch.survey import survey

    start_console()
    if out:
        check_kind(out)
    elif process.world_size() > 1 or engine == "ray":
        raise UserError("several processes write what they find to files: name one with --out")
    refuse_root_alone(root, list_file)
    _refuse_where("without -c, whose recipe it changes", config is None, {"-o": bool(override)})
    _refuse_where("without --out", not out, {"--shard-size": shard_size is not None})
    _refuse_where(
        "with --engine ray, whose workers compute a model folder with onnxruntime, a thread each",
        engine == "ray",
        {
            "--backend": backend not in (None, "onnx"), "--device": device != "cpu", "--compile": compile,
            "--precision": precision != "fp32", "--workers": workers is not None,
        },
    )  # fmt: skip
    # onnxruntime computes a batch in each worker, which leaves no core waiting; `auto` might change in the
    # middle of the work, and the last bits with it
    chosen = backend or ("onnx" if device == "cpu" else "auto")
    runtime: dict[str, Any] = {"backend": chosen, "device": device}
    if chosen == "onnx" and device == "cpu":
        runtime["threads"] = 1
    if precision != "fp32" or compile:
        runtime |= {"precision": precision, "compile": compile}
    if engine == "ray":
        check_ray()
    inputs = list(names or [])
    if config is not None:
        model, configured, size = _configured(config, override, layer, runtime)
        batch_size = batch_size or size
        inputs = inputs or ([] if list_file else configured)
    elif inputs:
        model = open_model(inputs.pop(0), layer, **runtime)
    else:
        raise UserError("name a model folder and pictures: lookalike embed inference a.jpg b.jpg")
    _refuse_where(
        "with a checkpoint, which PyTorch runs",
        model.folder is None,
        {"--backend": backend not in (None, "torch")},
    )
    found = survey(_sources(inputs, list_file, root, folder_labels, image_column, label_column))
    batch_size = batch_size or 32
    if out:
        outcome = extract_to(
            out,
            model,
            found,
            shard_size=shard_size or SHARD_SIZE,
            batch_size=batch_size,
            workers=workers,
            engine=compute_with_ray if engine == "ray" else None,
        )
        told = {"pictures": outcome.vectors, **_summary(model, outcome.broken), "out": out}
        if outcome.shards:
            told |= {"shards": outcome.shards, "reused": outcome.reused}
        answer(told, json, f"{out}: {outcome.vectors} vectors of {_width(model)}{_shards(outcome)}")
        return
    table, broken = embed_pictures(model, found, batch_size=batch_size, workers=workers)
    if json:
        told = {"pictures": len(table), **_summary(model, broken), "out": None, "vectors": _described(table)}
        answer(told, True, "")
        return
    for path, vector in zip(table.paths or [], table.vectors, strict=True):
        shown = np.array2string(vector, threshold=sys.maxsize, max_line_width=100)
        print(f"{Path(path).name}: {shown}")


def _refuse_where(reason: str, holds: bool, given: Mapping[str, bool]) -> None:
    """Refuse options that have no meaning where something holds, rather than leave them unheard."""
    if holds and (told := [name for name, is_given in given.items() if is_given]):
        raise UserError(f"{told[0]} has no meaning {reason}")


def _sources(
    inputs: list[str],
    list_file: str | None,
    root: str | None,
    folder_labels: bool,
    image_column: str | None,
    label_column: str | None,
) -> list[Source]:
    """What the words and options of the command line name."""
    from lookalike.deploy.batch.parquet_source import ParquetFile
    from lookalike.deploy.batch.sources import ListFile, open_sources
    from lookalike.deploy.batch.tar_source import TarFile

    sources: list[Source] = []
    if list_file is None:
        if not inputs:
            raise UserError("name at least one picture, folder or pattern, or a list with --list")
        sources = open_sources(
            inputs, folder_labels=folder_labels, image_column=image_column, label_column=label_column
        )
    tables = [each for each in sources if isinstance(each, ParquetFile)]
    _refuse_where("without a .parquet file", not tables, {"--image-column": image_column is not None})
    _refuse_where(
        "without a .parquet or .tar file",
        not tables and not any(isinstance(each, TarFile) for each in sources),
        {"--label-column": label_column is not None},
    )
    if list_file is None:
        return sources
    if inputs:
        raise UserError("give either pictures or --list, not both")
    if folder_labels:
        raise UserError("--list says the labels of its pictures: leave --folder-labels away")
    if root is not None and not Path(root).is_dir():
        raise UserError(f"--root {root} is no folder")
    return [ListFile(list_file, root)]


def _summary(model: Embedder, broken: list[BrokenImage]) -> dict[str, Any]:
    return {"size": model.size, "broken": [str(each) for each in broken]}


def _width(model: Embedder) -> int:
    """Values of a vector as it is written: eight bits are one byte."""
    return -(-model.size // 8) if model.binarize else model.size


def _shards(outcome: Outcome) -> str:
    """`, in 12 shards of which 5 were there`; nothing for one file."""
    if not outcome.shards:
        return ""
    there = f" of which {outcome.reused} were there" if outcome.reused else ""
    return f", in {outcome.shards} shards{there}"


def _described(table: FeatureTable) -> list[dict[str, Any]]:
    """What `--json` prints of each picture."""
    columns: dict[str, Any] = {"path": table.paths}
    if table.labels is not None:
        columns["label"] = table.labels.tolist()
    if table.cameras is not None:
        columns["camera"] = table.cameras.tolist()
    columns["vector"] = table.vectors.tolist()
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _without_prefix(named: str) -> str:
    """The model folder that `Global.rec_inference_model_dir` names.

    PaddleClas exports the files `inference/inference.*`, and its commands name that prefix of theirs: it
    means the folder, as `inference/model` does for our `model.*`.
    """
    from lookalike.deploy.model_folder import GRAPH, MANIFEST

    path = Path(named)
    is_prefix = path.name in ("inference", Path(GRAPH).stem) and not path.exists()
    return str(path.parent) if is_prefix and (path.parent / MANIFEST).is_file() else named


def _configured(
    config: str, overrides: list[str], layer: list[str], runtime: dict[str, Any]
) -> tuple[Any, list[str], int | None]:
    """The model, the default pictures and batch of a recipe, or of a deploy YAML as the reference has it."""
    from lookalike.images import Preprocess
    from lookalike.recipe import load_recipe

    recipe = load_recipe(config, overrides)
    warn_of_unused(recipe)
    pictures = recipe.global_.infer_imgs
    inputs = [pictures] if isinstance(pictures, str) else list(pictures or [])
    folder = recipe.global_.rec_inference_model_dir
    if folder is None:
        if not recipe.arch:
            raise UserError(
                f"{config}: neither Global.rec_inference_model_dir nor Arch says which model to use"
            )
        checkpoint = importlib.import_module("lookalike.deploy.checkpoint_runtime")
        # RecPreProcess is its preprocessing already
        model = checkpoint.embedder_of_recipe(recipe, layer=layer, **of_pytorch(runtime))
    else:
        folder = _without_prefix(str(folder))
        model = open_model(folder, layer, f"Global.rec_inference_model_dir of {config}", **runtime)
    operations = (recipe.rec_pre_process or Section()).get("transform_ops")
    if operations and folder is not None:
        preprocess = Preprocess(operations, reference_behaviour=recipe.global_.reference_behaviour)
        differs = f"{config}: RecPreProcess differs from the preprocessing of {folder}"
        try:
            changed = model.with_preprocess(preprocess)
        except UserError as error:
            raise UserError(f"{differs}: leave it away ({error})") from None
        if changed is not model:
            logger.warning(f"{differs}; the recipe's is used")
            model = changed
    post = recipe.rec_post_process or Section()
    if post.get("Binarize") is not None and not layer:
        model.binarize = post["Binarize"].get("method", "round")
    return model, inputs, recipe.global_.batch_size
