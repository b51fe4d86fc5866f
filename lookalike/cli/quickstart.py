"""`lookalike quickstart`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from lookalike.cli.options import Json, Overrides, answer, application
from lookalike.core.log import start_console

app = application(
    "Train, score, export, index and search on drawn brand marks; writes an HTML report. About three minutes."
)


@app.command()
def quickstart(
    out: Annotated[str, typer.Option("--out", help="Folder to write into.")] = "quickstart",
    override: Overrides = [],
    json: Json = False,
) -> None:
    start_console()
    from lookalike.quickstart.run import quickstart as run

    results = run(out, override)
    text = (
        f"\non brands never seen        recall@1     mAP\n"
        f"  pixels compared            {results.recall1_pixels:5.1f} %  {results.mAP_pixels:5.1f} %\n"
        f"  before training            {results.recall1_before:5.1f} %  {results.mAP_before:5.1f} %\n"
        f"  after training             {results.recall1_after:5.1f} %  {results.mAP_after:5.1f} %\n"
        f"{results.seconds:.0f} seconds\nReport: {results.report}"
    )
    answer(asdict(results), json, text)
