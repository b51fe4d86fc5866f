"""Scoring a recipe's model by retrieval: online while it trains, and by the verb `eval`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lookalike.core import process
from lookalike.core.errors import UserError
from lookalike.core.log import warn_once
from lookalike.data import Loader, build_loader
from lookalike.data.dataset import read_dataset_records
from lookalike.evaluation import Evaluation, build_metrics, training_labels, with_labels_of_training
from lookalike.evaluation import evaluate as evaluate_features
from lookalike.evaluation.features import Encode
from lookalike.images import Preprocess, Records, unify_classes
from lookalike.loss import build_loss
from lookalike.model import RecModel
from lookalike.recipe import Recipe, missing_paths, require_paths
from lookalike.training.assembly import assemble_model, prepare_process, seed_of
from lookalike.training.distributed import process_group
from lookalike.training.precision import Precision


@dataclass
class Benchmark:
    """A query and a gallery to score on; without a gallery the query is searched in itself.

    `loss` is that of `Loss.Eval`, where all classes of the query were trained on; `loss_labels` has the label
    in training of each of its labels.
    """

    name: str
    query: Loader
    gallery: Loader | None
    loss: nn.Module | None = None
    loss_labels: dict[int, int] = field(default_factory=dict)


def build_benchmark(recipe: Recipe, block: str = "Eval", training: Records | None = None) -> Benchmark | None:
    """The loaders of `DataLoader.Eval` or `DataLoader.Validation`, None where the recipe has no such block.

    One data set (a block with `dataset`, or one entry such as Query) means that the query is also the
    gallery.
    """
    section = getattr(recipe.data, block, None) if recipe.data is not None else None
    if section is None:
        return None
    if "dataset" in section:
        sets = {"Query": section}
    else:
        sets = {key: value for key, value in section.items() if value is not None}
    if len(sets) > 1 and not {"Query", "Gallery"} <= set(sets):
        raise section.place.error(
            f"needs Query and Gallery, or one data set that is both; it has {', '.join(sets)}"
        )
    if not sets:
        return None

    def loader(part: Any) -> Loader:
        return build_loader(
            part,
            seed=seed_of(recipe),
            rank=process.rank(),
            world_size=process.world_size(),
            epochs=1,
            training=False,
            reference_behaviour=recipe.global_.reference_behaviour,
        )

    if len(sets) == 1:
        benchmark = Benchmark(block, loader(next(iter(sets.values()))), None)
    else:
        query, gallery = loader(sets["Query"]), loader(sets["Gallery"])
        # sets whose classes have names were numbered each on its own
        query.dataset.records, gallery.dataset.records = unify_classes(query.records, gallery.records)
        benchmark = Benchmark(block, query, gallery)
    if training is not None and _has_evaluation_loss(recipe):
        classes = recipe.arch["Head"].get("class_num")
        labels = training_labels(training, benchmark.query.records, classes)
        if labels is None:
            warn_once(
                f"Loss.Eval is not applicable: the classes of DataLoader.{block} are not those of training"
            )
        else:
            benchmark.loss_labels = labels
            benchmark.loss = build_loss(
                recipe.loss_eval, reference_behaviour=recipe.global_.reference_behaviour
            )
    return benchmark


def _has_evaluation_loss(recipe: Recipe) -> bool:
    return bool(recipe.loss_eval and recipe.arch.get("Head"))


def _training_records(recipe: Recipe) -> Records | None:
    """What the recipe trains on, read for the sake of its class names alone.

    Who scores a model need not have its training set: that is said once, and None returned.
    """
    if not _has_evaluation_loss(recipe):
        return None
    train = recipe.data.Train if recipe.data is not None else None
    missing = [value for _, value in missing_paths(recipe, ("DataLoader.Train",))]
    if train is None or train.get("dataset") is None:
        reason = "there is no DataLoader.Train.dataset"
    elif missing:
        reason = f"{missing[0]} of DataLoader.Train is not there"
    else:
        try:
            return read_dataset_records(train["dataset"])
        except UserError as error:
            reason = str(error)
    warn_once(
        f"Loss.Eval is left out, since whether its classes are those of training cannot be decided: {reason}"
    )
    return None


def check_scoring(recipe: Recipe) -> None:
    """Raise UserError for what would only show at the end, when the model is scored or exported."""
    settings = recipe.global_
    build_metrics(recipe.metrics_eval)
    build_loss(recipe.loss_eval, reference_behaviour=settings.reference_behaviour)
    if settings.start_eval_epoch > settings.epochs:
        raise UserError(
            f"Global.start_eval_epoch is {settings.start_eval_epoch}, but there are {settings.epochs} epochs"
        )
    if settings.re_ranking:
        raise UserError("Global.re_ranking: re-ranking does not exist here yet; set it to False")
    if settings.eval_mode != "retrieval":
        raise UserError(f"Global.eval_mode: '{settings.eval_mode}' does not exist here yet; use retrieval")
    if recipe.rec_pre_process and recipe.rec_pre_process.get("transform_ops"):
        Preprocess(recipe.rec_pre_process["transform_ops"], reference_behaviour=settings.reference_behaviour)


def encoder(model: RecModel, recipe: Recipe, device: torch.device, with_logits: bool = False) -> Encode:
    """The function that turns a batch of pictures into features, or into all outputs of the model for a
    loss.
    """
    use_amp = recipe.amp is not None and recipe.amp.use_fp16_test
    precision = Precision(recipe.amp if use_amp else None, device)
    key = recipe.global_.retrieval_feature_from

    def encode(images: Tensor) -> Tensor | dict[str, Tensor]:
        images = images.to(device, non_blocking=True)
        if device.type in ("cpu", "cuda"):
            images = images.contiguous(memory_format=torch.channels_last)
        with precision.autocast():
            if not with_logits:
                return model.embed(images, key).float()
            return {name: value.float().flatten(1) for name, value in model(images).items()}

    return encode


def score(
    model: RecModel, recipe: Recipe, benchmark: Benchmark, device: torch.device, **options: Any
) -> Evaluation:
    """Score a model on a benchmark, in evaluation mode; it is left in the mode it was in."""
    settings = recipe.global_
    training = model.training
    model.eval()
    loss = benchmark.loss
    if loss is not None:
        options["loss"] = with_labels_of_training(
            lambda outputs, labels: loss(outputs, labels.to(device)), benchmark.loss_labels
        )
    try:
        with torch.inference_mode():
            return evaluate_features(
                encoder(model, recipe, device, with_logits=loss is not None),
                benchmark.query,
                benchmark.gallery,
                build_metrics(recipe.metrics_eval),
                feature_normalize=settings.feature_normalize,
                feature_binarize=settings.feature_binarize,
                feature_from=settings.retrieval_feature_from,
                block_size=settings.sim_block_size if settings.reference_behaviour else None,
                reference_behaviour=settings.reference_behaviour,
                **options,
            )
    finally:
        model.train(training)


def evaluate(recipe: Recipe, **options: Any) -> Evaluation:
    """Score the weights of `Global.pretrained_model` (or `Global.checkpoints`) on `DataLoader.Eval`.

    Returns the figures as fractions, as the reference does. Raises UserError where the recipe has nothing to
    score on.
    """
    require_paths(recipe, ("Global", "DataLoader.Eval"))
    check_scoring(recipe)
    device = prepare_process(recipe)
    with process_group(device):
        benchmark = build_benchmark(recipe, training=_training_records(recipe))
        if benchmark is None:
            raise UserError(f"{recipe.name}: there is no DataLoader.Eval, nothing to score on")
        model = assemble_model(recipe, device, recipe.weights, required=("backbone", "neck"))
        return score(model, recipe, benchmark, device, **options)
