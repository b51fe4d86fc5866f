"""From a recipe with weights to a model folder."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lookalike.core.errors import UserError
from lookalike.core.files import atomic_folder
from lookalike.core.log import logger
from lookalike.deploy.architecture import Architecture, write_weights
from lookalike.deploy.deployed import Deployed, FromPixels, deployed_module, output_key, taking
from lookalike.deploy.export.conversion import (
    figures_of_sizes,
    learned_reduction,
    to_8_bits,
    to_16_bits,
    trained_sizes,
)
from lookalike.deploy.export.graph import put_before, write_graph, write_program
from lookalike.deploy.export.integer import make_integer
from lookalike.deploy.export.reduced import Reduction
from lookalike.deploy.geometry import Geometry
from lookalike.deploy.graph_input import InputKind, before_graph
from lookalike.deploy.model_folder import (
    GRAPH,
    PROGRAM,
    WEIGHTS,
    ModelFolder,
    refuse_foreign_folder,
)
from lookalike.deploy.preprocessing import recipe_preprocess
from lookalike.deploy.proof.parity import LIMITS, Encode, Limit, angles
from lookalike.deploy.proof.trial import encoder, noise_batch, prove, trial_pictures
from lookalike.deploy.provenance import Provenance
from lookalike.deploy.thresholds import Thresholds
from lookalike.images import Preprocess
from lookalike.model import RecModel, build_rec_model, load_weights
from lookalike.model.slim.quantisation import without_rounding
from lookalike.recipe import Recipe, require_paths, warn_where_trained_otherwise

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


@dataclass(frozen=True)
class ExportOptions:
    """What a model folder is to be.

    input: what the graph takes. program: write `model.pt2` too. sample: how many pictures of the evaluation
        set the folder is tried on. quantize: compute in 8 bits, whose ranges are measured on `calibration`
        training pictures. precision: that of the weights in the graph. size: reduce features to so many
        numbers: the first ones where MatryoshkaLoss trained them, else by PCA. runtimes: further ones that
        the folder is to work in (`openvino`).

    Raises UserError where quantize and precision say two things about the same weights.
    """

    input: InputKind = "float32_nchw"
    program: bool = False
    sample: int = 64
    quantize: bool = False
    calibration: int = 256
    precision: Literal["fp32", "fp16", "bf16"] = "fp32"
    size: int | None = None
    runtimes: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.quantize and self.precision != "fp32":
            raise UserError("--quantize int8 and --precision say two things about the same weights: give one")

    @property
    def converts(self) -> bool:
        """Whether the features are not those of the model as it was scored."""
        return self.quantize or self.precision != "fp32" or self.size is not None


@dataclass
class ExportResult:
    """Where the model folder is, and how far its features are from those of the PyTorch model.

    largest_difference: of the graph in onnxruntime, relative to the largest value; in int8 the largest of
        1 - cosine. parity: of all runtimes, see `lookalike.deploy.proof.parity.Parity`.
    """

    folder: str
    size: int
    fingerprint: str
    largest_difference: float
    precision: str = "float32"
    unit: str = "numbers"
    """What a feature is made of: numbers, or bits where the model folder gives codes."""
    parity: dict[str, Any] = field(default_factory=dict)


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
    recipe: Recipe,
    folder: str | Path | None = None,
    *,
    metrics: dict[str, float] | None = None,
    options: ExportOptions | None = None,
) -> ExportResult:
    """Write the model folder of a recipe and the weights that `Global.pretrained_model` names.

    `folder` is `Global.save_inference_dir` by default. The graph has a dynamic batch. Every runtime that can
    use the folder embeds a sample of the pictures that the recipe is scored on, and the folder is only put in
    place when their features agree with those of the PyTorch model (`lookalike.deploy.proof.parity.LIMITS`).
    """
    require_paths(recipe, ("Global",))
    settings = recipe.global_
    folder = Path(folder or settings.save_inference_dir)
    refuse_foreign_folder(folder, "name another with -o Global.save_inference_dir=…")
    weights = recipe.weights
    if not recipe.global_.views.plain:
        logger.warning(
            f"the model folder gives the feature of one view of a picture: {recipe.global_.views} "
            "(Global.test_time_flip, Global.test_time_scales) are no part of it, though the figures of "
            "`eval -c` are made with them; `eval --model` has them as options"
        )
    model = trained_model(recipe, output_key(recipe))
    if not weights and not (recipe.network.get("Backbone") or {}).get("pretrained"):
        raise UserError(
            f"{recipe.name}: nothing to export, the weights would be random; name them with "
            f"-o Global.pretrained_model={Path(settings.output_dir) / 'RecModel' / 'best_model'}"
        )
    return export_model(recipe, model, folder, weights, metrics, options)


def export_model(
    recipe: Recipe,
    model: RecModel,
    folder: Path,
    weights: str | None,
    metrics: dict[str, float] | None = None,
    options: ExportOptions | None = None,
) -> ExportResult:
    """Write the model folder of a model in memory."""
    options = options or ExportOptions()
    module = deployed_module(recipe, model)
    preprocess = recipe_preprocess(recipe)
    shape = list(preprocess.image_shape or recipe.global_.image_shape)
    # what resizes is put before the graph at the end: whatever the graph is converted to, it learns nothing
    resizing = Geometry(preprocess).eval() if options.input == "uint8_nhwc_any_size" else None
    input: InputKind = "uint8_nhwc" if resizing is not None else options.input
    taken = taking(module, input, preprocess).eval()
    noise = noise_batch(preprocess, shape, input)
    example = torch.from_numpy(noise[:2])
    prepare = before_graph(preprocess, input)
    pictures = trial_pictures(recipe, prepare, options.sample, noise)
    full = int(encoder(taken)(noise[:1]).shape[1])
    notes = {}
    if options.size is not None:
        _check_reduction(recipe, module, options.size, full)
        trained = trained_sizes(recipe, module.key)
        if trained:
            _tell_of_trained(options.size, trained)
            whole = Reduction.prefix(full, module.normalize)
        else:
            whole = learned_reduction(recipe, encoder(taken), prepare, full, module.normalize)
        notes["Size"] = figures_of_sizes(whole, options.size, trained, encoder(taken), pictures)
        if trained:
            module.first = options.size
        else:
            module.reduction = torch.from_numpy(whole.to(options.size).projection).float().contiguous()
    size = options.size or full
    exported, limit = _to_precision(taken, module, noise, str(weights or recipe.name))
    if exported is not taken and (options.quantize or options.precision != "fp32"):
        raise UserError(f"{recipe.name}: its graph is in 8 bits as it is, since it was trained to round")
    facts = Provenance.of(recipe, weights)
    metrics, data = metrics or facts.metrics, facts.metrics_data
    if options.converts:
        data = {**data, "model": f"in float32, with features of {full} numbers: not this graph"}
    before, calibrated = _before(folder)
    with atomic_folder(folder) as part:
        write_weights(module, part / WEIGHTS)
        write_graph(exported, example, part / GRAPH)
        written = ModelFolder(
            path=part,
            shape=shape,
            size=size,
            normalized=module.normalize,
            binarize=recipe.global_.feature_binarize,
            preprocess=preprocess.to_json(),
            fingerprint="",
            input=options.input,
            output=module.key,
            precision="float32" if exported is taken else "int8",
            architecture=Architecture.of(recipe, module).to_json(),
            license=recipe.global_.license,
            made_from=facts.made_from,
            metrics=metrics,
            metrics_data=data if metrics else {},
            notes=notes,
        )
        if options.quantize:
            to_8_bits(written, recipe, prepare, options.calibration)
        elif options.precision != "fp32":
            to_16_bits(written, options.precision)
        limit = limit if exported is not taken else LIMITS[written.precision]
        scored, program = encoder(taken), taken
        if resizing is not None:
            put_before(resizing, part / GRAPH)
            scored, program = _resized_before(preprocess, scored), taking(module, options.input, preprocess)
            noise = noise_batch(preprocess, shape, options.input)
            example = torch.from_numpy(noise[:2])
            decode = before_graph(preprocess, options.input)
            pictures = trial_pictures(recipe, decode, options.sample, noise)
        if options.program:
            write_program(program.eval(), example, part / PROGRAM, any_size=resizing is not None)
        consequence = f"{folder} was left as it was"
        parity = prove(written, scored, pictures, limit, consequence, options.runtimes)
        written.parity = parity.to_json()
        written.seal()
        same_model = calibrated is not None and calibrated.fingerprint == written.fingerprint
        if calibrated is not None and same_model:
            written.thresholds = calibrated.to_json()
        written.write()
    if before is not None and before.fingerprint != written.fingerprint:
        logger.warning(
            f"{folder} held another model ({before.size} numbers, fingerprint {before.fingerprint[:12]}): "
            "vectors and galleries that were made with it do not go with this one"
        )
    if calibrated is not None and not same_model:
        logger.warning(
            f"{folder} has no thresholds any more: they were found with another model (fingerprints "
            f"{calibrated.fingerprint[:12]} and {written.fingerprint[:12]}), whose similarities are others; "
            "calibrate again (lookalike calibrate)"
        )
    graph = parity.runtimes[0]
    exact = limit.measure == "largest_difference"
    difference = graph.largest_difference if exact else graph.largest_angle
    logger.info(
        f"exported {module.key} ({size}, {written.precision}) to {folder}, as {parity.pictures} pictures show"
    )
    unit = "bits" if written.binarize else "numbers"
    return ExportResult(
        str(folder), size, written.fingerprint, difference, written.precision, unit, written.parity
    )


def _before(folder: Path) -> tuple[ModelFolder | None, Thresholds | None]:
    """The older model folder that an export replaces and its thresholds; None of what cannot be read."""
    try:
        before = ModelFolder.open(folder)
    except UserError:
        return None, None
    try:
        return before, before.found_thresholds()
    except UserError:
        return before, None


def _resized_before(preprocess: Preprocess, encode: Encode) -> Encode:
    """What encodes pixels as the model was scored: OpenCV resizes them, one picture after another."""
    geometry = preprocess.split().pixels
    return lambda batch: encode(np.stack([geometry(picture) for picture in batch]))


def _check_reduction(recipe: Recipe, module: Deployed, size: int, full: int) -> None:
    if recipe.global_.feature_binarize is not None or module.key == "logits" or module.softmax:
        raise UserError(
            f"{recipe.name}: --dim reduces features that are compared by inner product, no others"
        )
    if not 1 <= size < full:
        raise UserError(f"--dim {size}: the features have {full} numbers, so it must be 1 … {full - 1}")


def _tell_of_trained(size: int, trained: list[int]) -> None:
    sizes = ", ".join(map(str, trained))
    if size in trained:
        logger.info(f"--dim {size}: the first {size} numbers of a feature, as MatryoshkaLoss trained them")
    else:
        logger.warning(
            f"--dim {size}: the first {size} numbers of a feature, which MatryoshkaLoss did not train: it "
            f"trained {sizes}, and the card says what each finds"
        )


def _to_precision(
    taken: nn.Module, module: Deployed, noise: NDArray[Any], name: str
) -> tuple[nn.Module, Limit]:
    """The module whose graph is written, and how far that may be off: in whole numbers where it rounds."""
    rounds = module.model.structure.quantisation if module.model.structure is not None else None
    if rounds is None:
        return taken, LIMITS["float32"]
    exported = copy.deepcopy(taken)
    inner = exported.module if isinstance(exported, FromPixels) else exported
    assert isinstance(inner, Deployed)
    make_integer(inner.model, rounds, name)
    return exported, Limit("largest_angle", _allowed(taken, noise))


def _allowed(module: nn.Module, pictures: NDArray[Any]) -> float:
    """How far an int8 graph may be from the model that rounds; warns of harm.

    Two models that round independently are each `cost` from the exact one; the squares of independent angles
    add up, and 1 - cosine is half the square of a small angle.
    """
    exact = encoder(without_rounding(module))(pictures)
    cost = float(angles(encoder(module)(pictures), exact).max())
    if cost > INTEGER_PARITY:
        logger.warning(
            f"rounding to 8 bits moves the features by {cost:.2g} in cosine: the ranges do not fit the "
            "weights yet; train longer with Slim.quant, from trained weights"
        )
    return max(INTEGER_PARITY, 2 * cost)
