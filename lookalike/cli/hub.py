"""`lookalike hub`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from lookalike.cli.options import Json, answer, application
from lookalike.core.log import start_console

app = application("Model folders on the Hugging Face Hub. The token is that of 'hf auth login', or HF_TOKEN.")
Repository = Annotated[str, typer.Argument(metavar="ORG/NAME", help="Repository on the Hub.")]


@app.command()
def push(
    folder: Annotated[str, typer.Argument(metavar="MODEL_FOLDER", help="What to send.")],
    repository: Repository,
    private: Annotated[
        bool | None,
        typer.Option(
            "--private/--public",
            help="Who can see a new repository (default: private; one that exists stays as it is).",
        ),
    ] = None,
    message: Annotated[str | None, typer.Option("--message", help="Message of the commit.")] = None,
    json: Json = False,
) -> None:
    """Send a model folder to a repository, which is made if there is none."""
    start_console()
    from lookalike.deploy.hub import push_to_hub

    sent = push_to_hub(folder, repository, private=private, message=message)
    seen = "private" if sent.private else "public"
    answer(asdict(sent), json, f"{sent.url} ({seen}), commit {sent.commit[:12]}")


@app.command()
def pull(
    repository: Repository,
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="Where to write the model folder.")],
    revision: Annotated[
        str | None, typer.Option("--revision", help="Branch, tag or commit (default: main).")
    ] = None,
    json: Json = False,
) -> None:
    """Fetch a model folder from a repository."""
    start_console()
    from lookalike.deploy.hub import copy_from_hub

    fetched = copy_from_hub(repository, folder, revision=revision)
    told = {"folder": str(fetched.path), "size": fetched.size, "fingerprint": fetched.fingerprint}
    answer(
        told, json, f"{fetched.path}: {fetched.size} {'bits' if fetched.binarize else 'numbers'} a picture"
    )
