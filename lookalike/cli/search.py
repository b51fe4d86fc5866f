"""`lookalike search`."""

from __future__ import annotations

import math
from typing import Annotated, Any

import typer

from lookalike.cli.options import Json, answer, application
from lookalike.cli.pictures import find_pictures
from lookalike.core.errors import BrokenImage, UserError
from lookalike.core.log import logger, start_console

app = application("Find the pictures of a gallery that look most alike.")


@app.command()
def search(
    gallery: Annotated[str, typer.Argument(metavar="GALLERY", help="The gallery's folder.")],
    images: Annotated[list[str], typer.Argument(metavar="IMAGES…", help="Files, folders, globs.")],
    k: Annotated[int, typer.Option("-k", min=1, help="How many to find for each.")] = 5,
    model: Annotated[
        str | None, typer.Option("--model", help="Where the gallery's model folder is now.")
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option("--threshold", help="Same from this similarity on (default: as calibrated)."),
    ] = None,
    min_score: Annotated[
        float | None, typer.Option("--min-score", help="Leave out what is less alike than this.")
    ] = None,
    json: Json = False,
) -> None:
    start_console()
    for name, value in (("--threshold", threshold), ("--min-score", min_score)):
        if value is not None and not math.isfinite(value):
            raise UserError(f"{name} is {value}; it must be a similarity, such as 0.8")
    from lookalike.gallery import Gallery

    paths = find_pictures(images)
    broken: dict[int, str] = {}

    def told(position: int, error: BrokenImage) -> None:
        broken[position] = error.reason
        logger.warning(f"left out: {error}")

    opened = Gallery.open(gallery, model)
    found = opened.search_many(
        paths, k, threshold=threshold, min_score=min_score, progress=len(paths) > 32, on_broken=told
    )
    if not found:
        raise UserError(
            f"none of the {len(broken)} pictures could be read, the first: {paths[0]}: {broken[0]}"
        )
    kept = [path for position, path in enumerate(paths) if position not in broken]
    results: list[dict[str, Any]] = [
        {"query": path, "answers": [each.to_dict() for each in answers]}
        for path, answers in zip(kept, found, strict=True)
    ]
    lines = []
    for result in results:
        lines.append(str(result["query"]))
        for each in result["answers"]:
            verdict = f"{each['verdict']:<7}  " if each["verdict"] else ""
            lines.append(f"  {each['score']:.4f}  {verdict}{each['label']}  {each['path']}")
    answer(
        {"results": results, "broken": [f"{paths[i]}: {reason}" for i, reason in broken.items()]},
        json,
        "\n".join(lines),
    )
