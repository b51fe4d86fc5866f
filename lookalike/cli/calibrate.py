"""`lookalike calibrate`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from lookalike.cli.options import Json, answer, application
from lookalike.cli.pictures import Pictures, find_pictures, folder_labels, listed_pictures, refuse_root_alone
from lookalike.core.errors import UserError
from lookalike.core.log import logger, start_console

if TYPE_CHECKING:
    from lookalike.deploy import Thresholds

app = application(
    "Find from which similarity on an answer is the same thing, or nothing known, and store it in the model "
    "folder. Takes labelled pictures of things that the model was not trained on."
)


@app.command()
def calibrate(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL_FOLDER IMAGES…",
            help="Model folder, then files, folders, globs; the label of a picture is its folder's name.",
        ),
    ],
    list_file: Annotated[
        str | None, typer.Option("--list", help="Pictures: path label [camera] a line, or a .csv.")
    ] = None,
    root: Annotated[
        str | None, typer.Option("--root", help="Folder that the paths of the lists start from.")
    ] = None,
    gallery_list: Annotated[
        str | None,
        typer.Option(
            "--gallery-list", help="What the pictures are searched in (default: all the others of them)."
        ),
    ] = None,
    false_accept_rate: Annotated[
        float,
        typer.Option(
            "--false-accept-rate", help="How many pictures of unknown things may be taken for the same."
        ),
    ] = 0.01,
    unsure_rate: Annotated[
        float | None,
        typer.Option(
            "--unsure-rate", help="How many may be 'unsure' or 'same' (default: ten times as many)."
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Pictures at a time.")] = 32,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell, and write nothing.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace thresholds that stand on more than these.")
    ] = False,
    json: Json = False,
) -> None:
    start_console()
    from lookalike.deploy import Embedder
    from lookalike.deploy.calibration import calibrate as find
    from lookalike.deploy.calibration import check_rates

    unsure = check_rates(false_accept_rate, unsure_rate)
    folder, *images = names
    if bool(list_file) == bool(images):
        raise UserError(
            "name pictures or folders after the model folder, or a list with --list"
            + (", not both" if images else "")
        )
    refuse_root_alone(root, list_file, gallery_list)
    model = Embedder(folder)
    model.verify()
    query = _features(
        model, listed_pictures(list_file, root) if list_file else _in_folders(images), batch_size
    )
    gallery = _features(model, listed_pictures(gallery_list, root), batch_size) if gallery_list else None
    found = find(model.fingerprint, query, gallery, false_accept_rate=false_accept_rate, unsure_rate=unsure)
    for doubt in found.doubts():
        logger.warning(doubt)
    if not dry_run:
        assert model.folder is not None  # it was made from one
        if not force:
            try:
                _refuse_worse(folder, found)
            except UserError:
                logger.info("\n".join(_table(found)))  # minutes of work, which are told all the same
                raise
        model.folder.write_thresholds(found)
    stored = "not stored (--dry-run)" if dry_run else f"stored in {folder}; 'lookalike search' uses them"
    answer({**asdict(found), "stored": not dry_run}, json, "\n".join([*_table(found), stored]))


def _refuse_worse(folder: str, found: Thresholds) -> None:
    """Raise UserError where the folder's thresholds stand on more classes, or on enough pictures as these do
    not.
    """
    from lookalike.deploy.model_folder import ModelFolder

    now = ModelFolder.open(folder)  # as it is after the minutes that this took
    try:
        stored = now.found_thresholds()
    except UserError:
        return  # damaged or of another model: nothing is lost with them
    if stored is None:
        return
    fewer = found.validation.classes < stored.validation.classes
    if fewer or (stored.same.supported and not found.same.supported):
        why = "" if fewer else f", too few pictures for a rate of {100 * found.same.wanted:g} %"
        raise UserError(
            f"{folder} has thresholds found with {stored.validation.classes} classes, and these stand on "
            f"{found.validation.classes} classes{why}: nothing was written; give --force to replace them all "
            "the same"
        )


def _in_folders(images: list[str]) -> Pictures:
    paths = find_pictures(images)
    return Pictures(paths, folder_labels(paths))


def _features(model: Any, pictures: Pictures, batch_size: int) -> Any:
    """Vectors of the pictures that can be read, with labels and cameras."""
    from lookalike.deploy.extraction import extract
    from lookalike.images.feature_table import FeatureTable

    if pictures.labels is None:
        raise UserError("thresholds need the label of every picture: path label a line")
    found = extract(model, pictures.paths, batch_size=batch_size)
    if not found.kept:
        position, reason = next(iter(found.broken.items()))
        raise UserError(
            f"none of the {len(found.broken)} pictures could be read, the first: {pictures.paths[position]}: "
            f"{reason}"
        )
    cameras = pictures.cameras
    return FeatureTable(
        found.vectors,
        [pictures.paths[i] for i in found.kept],
        np.array([pictures.labels[i] for i in found.kept]),
        None if cameras is None else np.array([cameras[i] for i in found.kept], np.int64),
        model.size if model.binarize else None,
    )


def _table(found: Any) -> list[str]:
    """What a person wants to know."""
    from lookalike.deploy.thresholds import percents

    data = found.validation
    lines = [
        f"{data.queries} pictures of {data.classes} classes, searched among {data.gallery} of "
        f"{data.gallery_classes}; without a threshold {100 * data.recognised:.1f} % of answers are right",
        "",
        f"{'answer':<9}{'from similarity':<24}{'unknown things accepted':<46}known things recognised",
    ]
    for name, each in (("same", found.same), ("unsure", found.unsure)):
        low, high = each.threshold_interval
        similarity = f"{each.threshold:.4f} ({low:.3f}–{high:.3f})"
        accepted = f"{100 * each.false_accept_rate:.2f} %, of others {each.elsewhere}"
        kept = f"{100 * each.identification_rate:.1f} % ({percents(each.identification_interval)})"
        lines.append(f"{name:<9}{similarity:<24}{accepted:<46}{kept}")
    lines += ["unknown  below", "", f"(in brackets: {data.intervals})"]
    if found.classes and found.class_rates:
        accepted, kept = found.class_rates
        lines.append(
            f"{len(found.classes)} classes have thresholds of their own, which search uses: "
            f"{100 * accepted:.2f} % accepted, {100 * kept:.1f} % recognised"
        )
    pairs = found.pairs
    few = "" if pairs.supported else f" (there are too few to know: {pairs.tried})"
    lines.append(
        f"two pictures by themselves: the same from {pairs.threshold:.4f} on, which accepts at most "
        f"{100 * pairs.wanted:g} % of pairs of two classes{few} and {100 * pairs.true_accept_rate:.1f} % of "
        "pairs of one"
    )
    return lines
