"""From a recipe with weights to a model folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lookalike.core.errors import LookalikeError, UserError
from lookalike.core.files import atomic_folder
from lookalike.core.log import logger
from lookalike.deploy.architecture import Architecture, write_weights
from lookalike.deploy.deployed import deployed_module, output_key
from lookalike.deploy.graph import write_graph
from lookalike.deploy.integer import make_integer
from lookalike.deploy.model_folder import EARLIER_MANIFEST, FILES, GRAPH, WEIGHTS, ModelFolder
from lookalike.deploy.preprocessing import recipe_preprocess
from lookalike.deploy.provenance import Provenance
from lookalike.deploy.runtime import OnnxRuntime
from lookalike.deploy.thresholds import THRESHOLDS
from lookalike.model import RecModel, build_rec_model, load_weights
from lookalike.model.slim.quantisation import without_rounding
from lookalike.recipe import Recipe, require_paths, warn_where_trained_otherwise

PARITY = 1e-4
"""Largest difference allowed between the exported graph and the PyTorch model, relative to the largest
value.
"""

INTEGER_PARITY = 0.05
"""Largest 1 - cosine allowed between the features of an int8 graph and those of the PyTorch model that rounds
at the same places.

Both round to the same steps, but where a value lies between two of them they may take different ones, and
later layers carry that on. Processors with AVX2 and without VNNI add pairs of products in 16 bits, which the
largest ones exceed.

Where rounding itself moves the features of the model further than that, one step is much of a feature, and
the graph may be as far off as a model that rounded independently: twice as far as rounding goes (`_allowed`).
That is so after a few batches from random weights, when the running statistics of the batch norms are not yet
those of the pictures: what the last layers give then takes a few of the 256 steps.
"""


@dataclass
class ExportResult:
    """Where the model folder is, and how far its features are from those of the PyTorch model: the largest
    difference relative to the largest value, in int8 the largest of 1 - cosine.
    """

    folder: str
    size: int
    fingerprint: str
    largest_difference: float
    precision: str = "float32"
    unit: str = "numbers"
    """What a feature is made of: numbers, or bits where the model folder gives codes."""


def trained_model(recipe: Recipe, key: str, watched: Sequence[str] = ()) -> RecModel:
    """The model of a recipe with its weights; all that the output `key` needs must be among them.

    Of a DistillationModel it is the student, whose weights may stand alone or among those of all models.
    `watched` are layers that will be looked at. Warns where the recipe beside the weights makes other
    features.
    """
    warn_where_trained_otherwise(recipe, with_head=key == "logits", more=_different_preprocessing)
    weights, reference = recipe.weights, recipe.global_.reference_behaviour
    model = build_rec_model(recipe.network, reference, pretrained=not weights, watched=watched).eval()
    if weights:
        parts = {"backbone": ("backbone",), "logits": ("backbone", "neck", "head")}
        among = recipe.student if recipe.is_distillation else "Student"
        load_weights(model, weights, parts.get(key, ("backbone", "neck")), among)
    return model


def _different_preprocessing(trained: Recipe, recipe: Recipe) -> list[str]:
    try:
        before = recipe_preprocess(trained)
    except UserError:  # it was trained without an evaluation
        return []
    same = before.to_json() == recipe_preprocess(recipe).to_json()
    return [] if same else ["transform_ops (of RecPreProcess or the evaluation)"]


def export(
    recipe: Recipe, folder: str | Path | None = None, *, metrics: dict[str, float] | None = None
) -> ExportResult:
    """Write the model folder of a recipe and the weights that `Global.pretrained_model` names.

    `folder` is `Global.save_inference_dir` by default. The graph has a dynamic batch; its features are
    compared with those of the PyTorch model and the folder is only put in place when they agree within
    PARITY.
    """
    require_paths(recipe, ("Global",))
    settings = recipe.global_
    folder = Path(folder or settings.save_inference_dir)
    refuse_foreign_folder(folder)
    weights = recipe.weights
    model = trained_model(recipe, output_key(recipe))
    if not weights and not (recipe.network.get("Backbone") or {}).get("pretrained"):
        raise UserError(
            f"{recipe.name}: nothing to export, the weights would be random; name them with "
            f"-o Global.pretrained_model={Path(settings.output_dir) / 'RecModel' / 'best_model'}"
        )
    return export_model(recipe, model, folder, weights, metrics)


def refuse_foreign_folder(folder: Path) -> None:
    """Raise UserError where an export would replace something else than an older model folder."""
    if not folder.exists():
        return
    inside = {path.name for path in folder.iterdir()} if folder.is_dir() else {folder.name}
    ours = {*FILES, EARLIER_MANIFEST} - {THRESHOLDS}  # finding thresholds took work
    if foreign := sorted(inside - ours):
        raise UserError(
            f"{folder} holds other things than a model folder ({', '.join(foreign[:3])}), "
            "which an export would remove: name another with -o Global.save_inference_dir=…"
        )


def export_model(
    recipe: Recipe,
    model: RecModel,
    folder: Path,
    weights: str | None,
    metrics: dict[str, float] | None = None,
) -> ExportResult:
    """Write the model folder of a model in memory."""
    module = deployed_module(recipe, model)
    preprocess = recipe_preprocess(recipe)
    shape = list(preprocess.image_shape or recipe.global_.image_shape)
    torch.manual_seed(0)
    example = torch.randn(2, *shape)
    rounds = module.model.structure.quantisation if module.model.structure is not None else None
    if rounds is not None:
        # values that pictures have: beyond them the first rounding cuts off
        noise = np.random.default_rng(0).integers(0, 256, (2, *shape[1:], 3), dtype=np.uint8)
        example = torch.from_numpy(np.stack([preprocess(picture) for picture in noise]))
    with torch.inference_mode():
        expected = module(example).numpy()
    facts = Provenance.of(recipe, weights)
    with atomic_folder(folder) as part:
        write_weights(module, part / WEIGHTS)
        measure, allowed = _difference, PARITY
        if rounds is not None:
            measure, allowed = _angle, _allowed(module, example, expected)
            make_integer(module.model, rounds, str(weights or recipe.name))
        write_graph(module, example, part / GRAPH)
        run = OnnxRuntime(part / GRAPH)
        difference = max(
            measure(run(example.numpy()), expected), measure(run(example.numpy()[:1]), expected[:1])
        )
        if not difference <= allowed:
            unit = "of its largest value" if rounds is None else "in cosine"
            far = f"{difference:.2g} {unit} (allowed {allowed:.2g})"
            raise LookalikeError(
                f"the exported graph differs from the model by {far}; {folder} was left as it was"
            )
        written = ModelFolder(
            path=part,
            shape=shape,
            size=int(expected.shape[1]),
            normalized=module.normalize,
            binarize=recipe.global_.feature_binarize,
            preprocess=preprocess.to_json(),
            fingerprint="",
            output=module.key,
            precision="float32" if rounds is None else "int8",
            architecture=Architecture.of(recipe, module).to_json(),
            license=recipe.global_.license,
            made_from=facts.made_from,
            metrics=metrics or facts.metrics,
            metrics_data=facts.metrics_data if metrics or facts.metrics else {},
        )
        written.seal()
        written.write()
    logger.info(
        f"exported {module.key} ({expected.shape[1]}, {written.precision}) to {folder}, largest difference "
        f"{difference:.1e}"
    )
    size = int(expected.shape[1])
    unit = "bits" if written.binarize else "numbers"
    return ExportResult(str(folder), size, written.fingerprint, difference, written.precision, unit)


def _allowed(module: nn.Module, example: Tensor, rounded: np.ndarray) -> float:
    """How far an int8 graph may be from the model that rounds, which gives `rounded`; warns of harm.

    Two models that round independently are each `cost` from the exact one; the squares of independent angles
    add up, and 1 - cosine is half the square of a small angle.
    """
    with torch.inference_mode():
        cost = _angle(rounded, without_rounding(module)(example).numpy())
    if cost > INTEGER_PARITY:
        logger.warning(
            f"rounding to 8 bits moves the features by {cost:.2g} in cosine: the ranges do not fit the "
            "weights yet; train longer with Slim.quant, from trained weights"
        )
    return max(INTEGER_PARITY, 2 * cost)


def _angle(actual: np.ndarray, expected: np.ndarray) -> float:
    lengths = np.linalg.norm(actual, axis=1) * np.linalg.norm(expected, axis=1)
    return float((1.0 - (actual * expected).sum(axis=1) / np.maximum(lengths, 1e-12)).max())


def _difference(actual: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(actual - expected).max() / max(np.abs(expected).max(), 1e-12))
