"""`lookalike convert`."""

from __future__ import annotations

from typing import Annotated

import typer

from lookalike.cli.options import Json, Overrides, answer, application
from lookalike.core.errors import UserError
from lookalike.core.log import start_console

app = application("Turn weights (.pdparams, .pth) into .safetensors in our layout.")


@app.command()
def convert(
    source: Annotated[
        str | None,
        typer.Argument(help="Weights: .pdparams, .pth, .safetensors, a URL, or PaddleClas/NAME."),
    ] = None,
    target: Annotated[str | None, typer.Argument(help="The .safetensors file to write.")] = None,
    arch: Annotated[str | None, typer.Option("--arch", help="Backbone that the weights belong to.")] = None,
    config: Annotated[
        str | None, typer.Option("-c", "--config", help="Recipe whose whole model they belong to.")
    ] = None,
    override: Overrides = [],
    list_: Annotated[bool, typer.Option("--list", help="List the published weights by name.")] = False,
    json: Json = False,
) -> None:
    start_console()
    if list_:
        _list_published(json)
        return
    if source is None or target is None:
        raise UserError(
            "say which weights to read and which file to write: convert SOURCE TARGET.safetensors"
        )
    if arch is None and config is None:
        arch = _published_backbone(source)
    if (arch is None) == (config is None):
        raise UserError("say whose weights these are: --arch BACKBONE, or -c RECIPE for a whole model")
    if not target.endswith(".safetensors"):
        raise UserError(f"{target}: the file to write must end in .safetensors")
    from safetensors.torch import save
    from torch import nn

    from lookalike.core.files import atomic_file
    from lookalike.model import build_backbone, build_model, load_weights
    from lookalike.recipe import load_recipe

    if config is not None:
        model: nn.Module = build_model(load_recipe(config, override).arch, pretrained=False)
    else:
        model = build_backbone({"name": arch, **_arguments(override)})
    report = load_weights(model, source)
    random = {
        *report.missing,
        *(name for name, *_ in report.mismatched),
    }  # who loads the file is to hear of them
    state = {
        name: value.detach().contiguous().clone()
        for name, value in model.state_dict().items()
        if name not in random
    }
    with atomic_file(target) as file:
        file.write(save(state))
    told = {
        "written": target,
        "tensors": len(state),
        "matched": len(report.matched),
        "missing": sorted(random),
    }
    without = f", {len(random)} are missing in it and left out" if random else ""
    answer(told, json, f"{target}: {len(state)} tensors from {source}{without}")


def _list_published(as_json: bool) -> None:
    from lookalike.model.weights.urls import PUBLISHER, published

    kinds = {kind: published(kind) for kind in ("recognition", "imagenet", "solider", "start")}
    lines = [
        f"{PUBLISHER}{name}  ({kind})" for kind, addresses in kinds.items() for name in sorted(addresses)
    ]
    answer({"weights": kinds}, as_json, "\n".join(lines))


def _published_backbone(source: str) -> str | None:
    """The backbone whose published weights a source names: their name is its name."""
    from lookalike.model.weights.urls import PUBLISHER, published

    name = source.removeprefix(PUBLISHER)
    return name if source.startswith(PUBLISHER) and name in published("imagenet") else None


def _arguments(overrides: list[str]) -> dict[str, object]:
    """`-o class_num=10` beside `--arch`: arguments of the backbone."""
    import yaml

    found: dict[str, object] = {}
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not key:
            raise UserError(
                f"-o {override}: write an argument of the backbone as key=value, e.g. -o class_num=10"
            )
        try:
            found[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise UserError(f"-o {override}: {value!r} is not a YAML value") from None
    return found
