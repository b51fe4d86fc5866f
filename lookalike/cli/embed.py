"""`lookalike embed`."""

from __future__ import annotations

import errno
import importlib
import sys
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from lookalike.cli.models import open_model
from lookalike.cli.options import Json, Overrides, answer, application, warn_of_unused
from lookalike.cli.pictures import Pictures, find_pictures, listed_pictures
from lookalike.cli.pictures import folder_labels as labels_of_folders
from lookalike.core.component import Section
from lookalike.core.errors import BrokenImage, LookalikeError, UserError
from lookalike.core.log import logger, start_console
from lookalike.images.feature_files import check_writable, write_features
from lookalike.images.feature_table import FeatureTable, numbers_or_text

app = application("Turn pictures into vectors with a model folder, or a training checkpoint.")


@app.command()
def embed(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="MODEL_FOLDER IMAGES…", help="Model folder, then files, folders, globs."),
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
            help="Write vectors, paths, labels, cameras to FILE.npz or FILE.parquet (-1: none is known).",
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
    json: Json = False,
) -> None:
    start_console()
    if out:
        check_writable(out)
    inputs = list(names or [])
    if config is not None:
        model, configured, size = _configured(config, override, layer)
        batch_size = batch_size or size
        inputs = inputs or ([] if list_file else find_pictures(configured))
    elif inputs:
        model = open_model(inputs.pop(0), layer)
    else:
        raise UserError("name a model folder and pictures: lookalike embed inference a.jpg b.jpg")
    if list_file and inputs:
        raise UserError("give either pictures or --list, not both")
    if list_file and folder_labels:
        raise UserError("--list says the labels of its pictures: leave --folder-labels away")
    pictures = listed_pictures(list_file, root) if list_file else Pictures(find_pictures(inputs))
    if folder_labels:
        pictures.labels = labels_of_folders(pictures.paths)
    if not pictures.paths:
        raise UserError("name at least one picture, folder or pattern, or a list with --list")
    broken: dict[int, str] = {}

    def told(position: int, error: BrokenImage) -> None:
        broken[position] = str(error)
        logger.warning(f"left out: {error}")

    vectors = model.encode(pictures.paths, batch_size=batch_size or 32, progress=True, on_broken=told)
    kept = [i for i in range(len(pictures.paths)) if i not in broken]
    if not kept:
        raise UserError(
            f"none of the {len(broken)} pictures could be read, the first: {next(iter(broken.values()))}"
        )
    table = _table(vectors, pictures, kept, model.size if model.binarize else None)
    summary = {"pictures": len(kept), "size": model.size, "broken": list(broken.values()), "out": out}
    if out:
        _write(out, table)
        answer(summary, json, f"{out}: {len(kept)} vectors of {vectors.shape[1]}")
    elif json:
        answer({**summary, "vectors": _described(table)}, True, "")
    else:
        for i, vector in zip(kept, vectors, strict=True):
            shown = np.array2string(vector, threshold=sys.maxsize, max_line_width=100)
            print(f"{Path(pictures.paths[i]).name}: {shown}")


def _table(vectors: np.ndarray, pictures: Pictures, kept: list[int], bits: int | None) -> FeatureTable:
    """The vectors with what is known of their pictures; one that is named twice is there twice."""
    labels, cameras = pictures.labels, pictures.cameras
    return FeatureTable(
        vectors,
        [pictures.paths[i] for i in kept],
        None if labels is None else numbers_or_text([labels[i] for i in kept]),
        None if cameras is None else np.array([cameras[i] for i in kept], np.int64),
        bits,
    )


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


def _configured(config: str, overrides: list[str], layer: list[str]) -> tuple[Any, list[str], int | None]:
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
        runtime = importlib.import_module("lookalike.deploy.checkpoint_runtime")
        model = runtime.embedder_of_recipe(recipe, layer=layer)  # RecPreProcess is its preprocessing already
    else:
        folder = _without_prefix(str(folder))
        model = open_model(folder, layer, f"Global.rec_inference_model_dir of {config}")
    operations = (recipe.rec_pre_process or Section()).get("transform_ops")
    if operations and folder is not None:
        preprocess = Preprocess(operations, reference_behaviour=recipe.global_.reference_behaviour)
        if preprocess.to_json() != model.preprocess.to_json():
            logger.warning(
                f"{config}: RecPreProcess differs from the preprocessing of {folder}; the recipe's is used"
            )
        model.preprocess = preprocess
    post = recipe.rec_post_process or Section()
    if post.get("Binarize") is not None and not layer:
        model.binarize = post["Binarize"].get("method", "round")
    return model, inputs, recipe.global_.batch_size


def _write(out: str, table: FeatureTable) -> None:
    try:
        write_features(out, table)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise LookalikeError(f"the disk is full, {out} was not written") from None
        raise UserError(f"--out {out} cannot be written: {error.strerror or error}") from None
