"""`lookalike gallery`."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from typing import Annotated

import typer

from lookalike.cli.options import Json, answer, application
from lookalike.cli.pictures import Pictures, find_pictures, folder_labels, listed_pictures, refuse_root_alone
from lookalike.core.errors import UserError
from lookalike.core.log import logger, start_console

app = application('A gallery: enrolled pictures that answer "what is this?".')
Images = Annotated[list[str] | None, typer.Argument(metavar="IMAGES…", help="Files, folders, globs.")]
ListFile = Annotated[str | None, typer.Option("--list", help="List file: path label a line.")]
Root = Annotated[str | None, typer.Option("--root", help="Folder that the paths of --list start from.")]
Label = Annotated[
    str | None, typer.Option("--label", help="Label of all these pictures (default: their folder's name).")
]
ModelOption = Annotated[str | None, typer.Option("--model", help="Where the gallery's model folder is now.")]
Folder = Annotated[str, typer.Argument(metavar="GALLERY", help="The gallery's folder.")]


@app.command()
def create(
    gallery: Folder,
    model: Annotated[str, typer.Option("--model", help="Model folder that makes its vectors.")],
    images: Images = None,
    list_file: ListFile = None,
    root: Root = None,
    label: Label = None,
    json: Json = False,
) -> None:
    """Make a gallery, and enrol pictures in it if some are named."""
    start_console()
    from lookalike.gallery import Gallery

    pictures = _pictures(images, list_file, root, label)
    made = Gallery.create(gallery, model)
    try:
        _enrol(made, pictures, json)
    except BaseException:
        shutil.rmtree(gallery, ignore_errors=True)  # so that the same command can be given again
        raise


@app.command()
def add(
    gallery: Folder,
    images: Images = None,
    list_file: ListFile = None,
    root: Root = None,
    label: Label = None,
    model: ModelOption = None,
    json: Json = False,
) -> None:
    """Enrol more pictures."""
    start_console()
    from lookalike.gallery import Gallery

    pictures = _pictures(images, list_file, root, label)
    if not pictures.paths:
        raise UserError("name at least one picture, folder or pattern, or a list with --list")
    _enrol(Gallery.open(gallery, model), pictures, json)


@app.command()
def info(gallery: Folder, model: ModelOption = None, json: Json = False) -> None:
    """Tell what a gallery holds."""
    start_console()
    from lookalike.gallery import Gallery

    told = Gallery.open(gallery, model).info()
    held = f"{told['pictures']} pictures of {told['labels']} labels"
    unit = "bits" if told["kind"] == "binary" else "numbers"
    text = f"{held}, {told['size']} {unit} each, made with {told['model']}"
    answer(told, json, text)


def _pictures(
    images: list[str] | None, list_file: str | None, root: str | None, label: str | None
) -> Pictures:
    if list_file and images:
        raise UserError("give either pictures or --list, not both")
    refuse_root_alone(root, list_file)
    pictures = listed_pictures(list_file, root) if list_file else Pictures(find_pictures(images or []))
    if label is not None:
        pictures.labels = [label] * len(pictures.paths)
    elif pictures.labels is None:
        pictures.labels = folder_labels(pictures.paths)
    return pictures


def _enrol(gallery: object, pictures: Pictures, json: bool) -> None:
    from lookalike.gallery import Gallery

    assert isinstance(gallery, Gallery)
    added = gallery.add(pictures.paths, pictures.labels or [], progress=True, warn=False)  # each is told
    for each in added.conflicts:
        logger.warning(
            f"{each.path} is enrolled as '{each.enrolled_as}' and stays so; '{each.label}' was not taken"
        )
    for path, reason in added.broken:
        logger.warning(f"left out: {path}: {reason}")
    if added.broken and len(added.broken) == len(pictures.paths):
        path, reason = added.broken[0]
        raise UserError(
            f"none of the {len(added.broken)} pictures could be read, the first: {path}: {reason}"
        )
    told = gallery.info()
    known = f", {len(added.known)} were enrolled already" if added.known else ""
    if added.conflicts:
        known += f" ({len(added.conflicts)} under another label)"
    broken = f", {len(added.broken)} are broken" if added.broken else ""
    held = f"{told['pictures']} pictures of {told['labels']} labels"
    text = f"{gallery.folder}: {added.added} enrolled{known}{broken}; {held}"
    did = {"added": added.added, "known": added.known, "broken": added.broken}
    did["conflicts"] = [asdict(each) for each in added.conflicts]
    answer({**did, **told}, json, text)
