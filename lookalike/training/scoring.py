"""Scoring a recipe's model as `Global.eval_mode` says: online while it trains, and by the verb `eval`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from lookalike.core.errors import UserError
from lookalike.data.loader import own_workers
from lookalike.evaluation import (
    Evaluation,
    SetEvaluation,
    build_accuracies,
    build_metrics,
    check_metrics,
    evaluate_classes,
    evaluate_pairs,
    with_labels_of_training,
)
from lookalike.evaluation import evaluate as evaluate_features
from lookalike.evaluation.features import Encode
from lookalike.images import Preprocess
from lookalike.loss import build_loss
from lookalike.model import DistillationModel, Model
from lookalike.model.cudnn import full_float32
from lookalike.recipe import Recipe, require_paths, warn_where_trained_otherwise
from lookalike.training.assembly import assemble_model, prepare_process
from lookalike.training.benchmark import Benchmark, build_benchmark, training_records
from lookalike.training.distributed import process_group
from lookalike.training.precision import Precision

Scored = Evaluation | SetEvaluation
"""What a search was found to be worth, or a set that is scored by itself."""


def check_scoring(recipe: Recipe) -> None:
    """Raise UserError for what would only show at the end, when the model is scored or exported."""
    settings = recipe.global_
    check_metrics(recipe.metrics_eval, settings.eval_mode, settings.reference_behaviour)
    build_loss(recipe.loss_eval, reference_behaviour=settings.reference_behaviour)
    if settings.eval_mode != "retrieval" and not settings.views.plain:
        key = "test_time_flip" if settings.test_time_flip else "test_time_scales"
        told = ", which adds the mirror image of a face by itself" if settings.eval_mode == "adaface" else ""
        raise UserError(
            f"Global.{key} is for features that are searched: it has no meaning with Global.eval_mode: "
            f"{settings.eval_mode}{told}"
        )
    if settings.start_eval_epoch > settings.epochs:
        raise UserError(
            f"Global.start_eval_epoch is {settings.start_eval_epoch}, but there are {settings.epochs} epochs"
        )
    if recipe.rec_pre_process and recipe.rec_pre_process.get("transform_ops"):
        Preprocess(recipe.rec_pre_process["transform_ops"], reference_behaviour=settings.reference_behaviour)


def encoder(model: Model, recipe: Recipe, device: torch.device, with_logits: bool = False) -> Encode:
    """The function that turns a batch of pictures into features, or into all outputs of the model for a
    loss or a classification.

    All outputs of several models are those of the student, and those of each model under its name.
    """
    use_amp = recipe.amp is not None and recipe.amp.use_fp16_test
    precision = Precision(recipe.amp if use_amp else None, device)
    key = recipe.global_.retrieval_feature_from

    def encode(images: Tensor) -> Tensor | dict[str, Any]:
        images = images.to(device, non_blocking=True)
        if device.type in ("cpu", "cuda"):
            images = images.contiguous(memory_format=torch.channels_last)
        with precision.autocast():
            if not with_logits:
                return model.embed(images, key).float()
            outputs = _as_rows(model(images))
        if isinstance(model, DistillationModel):
            return {**outputs[model.student_name], **outputs}
        return outputs

    return encode


def _as_rows(outputs: Mapping[str, Any]) -> dict[str, Any]:
    """Outputs, of one model or of several, as (N, D) float32."""
    return {
        name: _as_rows(value) if isinstance(value, Mapping) else value.float().flatten(1)
        for name, value in outputs.items()
    }


def score(
    model: Model,
    recipe: Recipe,
    benchmark: Benchmark,
    device: torch.device,
    **options: Any,
) -> Scored:
    """Score a model on a benchmark, in evaluation mode; it is left in the mode it was in.

    `options` are those of `lookalike.evaluation.evaluate`, for a search.
    """
    training = model.training
    model.eval()
    judge = _JUDGES[recipe.global_.eval_mode]
    try:
        with torch.inference_mode(), full_float32():
            return judge(model, recipe, benchmark, device, **options)
    finally:
        model.train(training)


def _search(
    model: Model,
    recipe: Recipe,
    benchmark: Benchmark,
    device: torch.device,
    **options: Any,
) -> Evaluation:
    settings = recipe.global_
    options.setdefault("re_ranking", settings.re_ranking)
    loss = benchmark.loss
    if loss is not None:
        options["loss"] = with_labels_of_training(
            lambda outputs, labels: loss(outputs, labels.to(device)), benchmark.loss_labels
        )
    return evaluate_features(
        encoder(model, recipe, device, with_logits=loss is not None),
        benchmark.query,
        benchmark.gallery,
        options.pop("metrics", None) or build_metrics(recipe.metrics_eval),
        feature_normalize=settings.feature_normalize,
        feature_binarize=settings.feature_binarize,
        feature_from=settings.retrieval_feature_from,
        views=settings.views,
        block_size=settings.sim_block_size if settings.reference_behaviour else None,
        reference_behaviour=settings.reference_behaviour,
        **options,
    )


def _classify(model: Model, recipe: Recipe, benchmark: Benchmark, device: torch.device) -> SetEvaluation:
    loss = benchmark.loss
    return evaluate_classes(
        encoder(model, recipe, device, with_logits=True),  # type: ignore[arg-type]  # a dict, with logits
        benchmark.query,
        build_accuracies(recipe.metrics_eval),
        class_of=benchmark.class_of,
        loss=None if loss is None else lambda outputs, labels: loss(outputs, labels.to(device)),
    )


def _verify(model: Model, recipe: Recipe, benchmark: Benchmark, device: torch.device) -> SetEvaluation:
    pairs = benchmark.query.records.pairs
    assert pairs is not None, "build_benchmark refuses other sets"
    return evaluate_pairs(encoder(model, recipe, device), benchmark.query, pairs)


_JUDGES: dict[str, Callable[..., Scored]] = {
    "retrieval": _search,
    "classification": _classify,
    "adaface": _verify,
}


def evaluate(recipe: Recipe, **options: Any) -> Scored:
    """Score the weights of `Global.pretrained_model` (or `Global.checkpoints`) on `DataLoader.Eval`.

    What is measured is what `Global.eval_mode` says: a search, a classification, or pairs of faces. `options`
    are those of `lookalike.evaluation.evaluate`, for a search; `metrics` take the place of the recipe's.

    Returns the figures as fractions, as the reference does. Raises UserError where the recipe has nothing to
    score on.
    """
    require_paths(recipe, ("Global", "DataLoader.Eval"))
    check_scoring(recipe)
    device = prepare_process(recipe)
    with process_group(device), own_workers():
        benchmark = build_benchmark(recipe, training=training_records(recipe))
        if benchmark is None:
            raise UserError(f"{recipe.name}: there is no DataLoader.Eval, nothing to score on")
        head = ("head",) if recipe.global_.eval_mode == "classification" else ()
        warn_where_trained_otherwise(recipe, with_head=bool(head))
        model = assemble_model(recipe, device, recipe.weights, required=("backbone", "neck", *head))
        return score(model, recipe, benchmark, device, **options)
