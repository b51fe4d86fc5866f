"""`lookalike export`."""

from __future__ import annotations

from dataclasses import asdict

from lookalike.cli.options import Config, Json, Overrides, answer, application, recipe_of

app = application(
    "Write the model folder (ONNX graph, preprocessing, fingerprint) of Global.pretrained_model."
)


@app.command()
def export(config: Config, override: Overrides = [], json: Json = False) -> None:
    recipe = recipe_of(config, override)
    from lookalike.deploy.export import export as run

    result = run(recipe)
    difference = f"largest difference {result.largest_difference:.1e}"
    text = f"{result.folder}: {result.size} {result.unit} a picture, {result.precision}, {difference}"
    answer(asdict(result), json, text)
