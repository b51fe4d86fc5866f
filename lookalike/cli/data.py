"""`lookalike data list | prepare | merge`."""

from __future__ import annotations

from typing import Annotated

import typer

from lookalike.cli.options import Json, answer, application
from lookalike.core.log import start_console

app = application("Turn downloads of published sets into list files; join several lists into one.")


@app.command("list")
def list_(json: Json = False) -> None:
    """List the published sets that prepare knows."""
    from lookalike.images.standard_sets import standard_sets

    lines = [f"{each.name:<24}{each.title}  {each.homepage}" for each in standard_sets.values()]
    told = {
        each.name: {
            "title": each.title,
            "homepage": each.homepage,
            "terms": each.terms,
            "needs": each.needs,
            "root": each.folder,
            "recipes": list(each.recipes),
            "expected": {file: list(counts) for file, counts in each.expected.items()},
            "unsure": each.unsure,
        }
        for each in standard_sets.values()
    }
    answer({"sets": told}, json, "\n".join(lines))


@app.command()
def prepare(
    name: Annotated[str, typer.Argument(help="A published set, such as sop (see: lookalike data list).")],
    root: Annotated[
        str | None,
        typer.Option("--root", help="Folder of the download. Default: where the shipped recipe looks."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would be done.")] = False,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Leave images out that are not there.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Write over lists that differ.")] = False,
    json: Json = False,
) -> None:
    """Write the list files of a set from its official download; nothing is downloaded."""
    start_console()
    from lookalike.images.standard_sets import prepare as prepare_set

    result = prepare_set(name, root, dry_run=dry_run, allow_missing=allow_missing, force=force)
    answer(result.to_dict(), json, result.text())


@app.command()
def merge(
    lists: Annotated[
        list[str], typer.Argument(help="List files 'path label', in the order of their labels.")
    ],
    out: Annotated[str, typer.Option("-o", "--out", help="The list to write.")],
    root: Annotated[
        str | None,
        typer.Option("--root", help="image_root of the new list. Default: the folder it lies in."),
    ] = None,
    image_root: Annotated[
        list[str],
        typer.Option(
            "--image-root", help="Folder of the paths of a list, once for each. Default: where it lies."
        ),
    ] = [],
    json: Json = False,
) -> None:
    """Join list files into one, with labels one after the other."""
    start_console()
    from lookalike.images.merged_lists import merge_lists

    result = merge_lists(lists, out, root, image_root or None)
    answer(result.to_dict(), json, result.text())
