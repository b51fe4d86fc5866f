"""`lookalike export`."""

from __future__ import annotations

from dataclasses import asdict
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from lookalike.cli.options import Config, Json, Overrides, answer, application, recipe_of

if TYPE_CHECKING:
    from lookalike.deploy.graph_input import InputKind

app = application(
    "Write the model folder (ONNX graph, weights, preprocessing, model card) of Global.pretrained_model."
)


class Input(str, Enum):
    """What the graph takes."""

    float32 = "float32"
    uint8 = "uint8"
    uint8_any_size = "uint8-any-size"


_KINDS: dict[Input, InputKind] = {
    Input.float32: "float32_nchw",
    Input.uint8: "uint8_nhwc",
    Input.uint8_any_size: "uint8_nhwc_any_size",
}


class Runtime(str, Enum):
    """What runs a graph beside onnxruntime."""

    openvino = "openvino"


class Precision(str, Enum):
    """What weights are held in."""

    fp32 = "fp32"
    fp16 = "fp16"
    bf16 = "bf16"


class Quantize(str, Enum):
    """What to round to."""

    int8 = "int8"


@app.command()
def export(
    config: Config,
    override: Overrides = [],
    input: Annotated[
        Input,
        typer.Option(
            help="What the graph takes: normalised floats (N,C,H,W), RGB pixels (N,H,W,3), or RGB pixels of "
            "any size, which it resizes."
        ),
    ] = Input.float32,
    pt2: Annotated[
        bool, typer.Option("--pt2", help="Write model.pt2 too, a program of torch.export.")
    ] = False,
    quantize: Annotated[
        Quantize | None,
        typer.Option(help="Compute in 8 bits, whose ranges are measured on training pictures."),
    ] = None,
    calibration: Annotated[int, typer.Option(min=8, help="How many of them.")] = 256,
    precision: Annotated[
        Precision, typer.Option(help="What the weights in the graph are held in; arithmetic is in float32.")
    ] = Precision.fp32,
    dim: Annotated[
        int | None,
        typer.Option(
            "--dim",
            min=1,
            help="Reduce features to so many numbers: the first ones after MatryoshkaLoss, else by PCA.",
        ),
    ] = None,
    runtime: Annotated[
        list[Runtime], typer.Option(help="A further runtime that the folder is to work in. May be repeated.")
    ] = [],
    sample: Annotated[
        int, typer.Option(min=2, help="Pictures of the evaluation set that all runtimes are tried on.")
    ] = 64,
    json: Json = False,
) -> None:
    recipe = recipe_of(config, override)
    from lookalike.deploy.export import ExportOptions
    from lookalike.deploy.export import export as run

    options = ExportOptions(
        input=_KINDS[input],
        program=pt2,
        sample=sample,
        quantize=quantize is not None,
        calibration=calibration,
        precision=precision.value,
        size=dim,
        runtimes=[each.value for each in runtime],
    )
    result = run(recipe, options=options)
    text = f"{result.folder}: {result.size} {result.unit} a picture, {result.precision}"
    answer(asdict(result), json, f"{text}\n{_told(result.parity, result.precision)}")


def _told(parity: dict[str, object], precision: str) -> str:
    """The runtimes as a small table."""
    from lookalike.deploy.parity_table import table

    rows = table(parity, precision)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([f"{parity['pictures']} pictures ({parity['data']}):", *lines])
