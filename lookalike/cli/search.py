"""`lookalike search`."""

from __future__ import annotations

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
    json: Json = False,
) -> None:
    start_console()
    from lookalike.gallery import Gallery

    paths = find_pictures(images)
    broken: dict[int, str] = {}

    def told(position: int, error: BrokenImage) -> None:
        broken[position] = error.reason
        logger.warning(f"left out: {error}")

    opened = Gallery.open(gallery, model)
    found = opened.search_many(paths, k, progress=len(paths) > 32, on_broken=told)
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
        lines += [f"  {each['score']:.4f}  {each['label']}  {each['path']}" for each in result["answers"]]
    answer(
        {"results": results, "broken": [f"{paths[i]}: {reason}" for i, reason in broken.items()]},
        json,
        "\n".join(lines),
    )
