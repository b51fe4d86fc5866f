"""`lookalike eval`."""

from __future__ import annotations

from lookalike.cli.options import Config, Json, Overrides, RequireGpu, answer, application, percent, recipe_of
from lookalike.core.log import logger

app = application("Score the weights of Global.pretrained_model on DataLoader.Eval as Global.eval_mode says.")


@app.command()
def evaluate(
    config: Config, override: Overrides = [], json: Json = False, require_gpu: RequireGpu = False
) -> None:
    recipe = recipe_of(config, override, require_gpu)
    if not (recipe.weights or recipe.network.get("Backbone", {}).get("pretrained")):
        logger.warning(
            f"{recipe.name} names no weights: random ones are scored; name yours with "
            f"-o Global.pretrained_model={recipe.global_.output_dir}/RecModel/best_model"
        )
    from lookalike.training import evaluate as run

    evaluation = run(recipe)
    values = evaluation.to_dict()
    losses = "".join(f"  {name} {value:.4f}" for name, value in evaluation.losses.items())
    text = f"{percent(evaluation.metrics)}{losses}\n{evaluation.counts}, {evaluation.seconds:.1f} s"
    answer(values, json, text)
