"""From a recipe with weights to a model folder."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
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
from lookalike.deploy.export.conversion import to_8_bits, to_16_bits, to_fewer_numbers
from lookalike.deploy.export.graph import put_before, write_graph, write_program
from lookalike.deploy.export.integer import make_integer
from lookalike.deploy.export.replaced import Replaced
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
from lookalike.deploy.proof.parity import LIMITS, Limit, angles
from lookalike.deploy.proof.pictures import Encode, Pictures
from lookalike.deploy.proof.trial import encoder, noise_batch, prove, trial_pictures
from lookalike.deploy.provenance import Provenance
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
    trained_otherwise(recipe, key)
    weights, reference = recipe.weights, recipe.global_.reference_behaviour
    model = build_rec_model(recipe.network, reference, pretrained=not weights, watched=watched).eval()
    if weights:
        parts = {"backbone": ("backbone",), "logits": ("backbone", "neck", "head")}
        among = recipe.student if recipe.is_distillation else "Student"
        load_weights(model, weights, parts.get(key, ("backbone", "neck")), among)
    return model


def trained_otherwise(recipe: Recipe, key: str) -> list[str]:
    """Keys that the recipe beside the weights has other values of, for an output; warns of them once."""
    return warn_where_trained_otherwise(recipe, with_head=key == "logits", more=_different_preprocessing)


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

    Raises UserError for a folder that holds something else, and for weights that are missing or random; else
    as `export_model`.
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
    if not weights:
        best = Path(settings.output_dir) / "RecModel" / "best_model"
        named = f"name them with -o Global.pretrained_model={best}"
        if not (recipe.network.get("Backbone") or {}).get("pretrained"):
            raise UserError(f"{recipe.name}: nothing to export, the weights would be random; {named}")
        if best.is_dir():
            raise UserError(
                f"{recipe.name}: this would export the pretrained backbone as it was before training, not "
                f"the trained weights; {named} (or take another Global.output_dir)"
            )
        logger.warning("these are the weights of the pretrained backbone alone: nothing was trained here")
    model = trained_model(recipe, output_key(recipe))
    return export_model(recipe, model, folder, weights, metrics, options)


def export_model(
    recipe: Recipe,
    model: RecModel,
    folder: Path,
    weights: str | None,
    metrics: dict[str, float] | None = None,
    options: ExportOptions | None = None,
) -> ExportResult:
    """Write the model folder of a model in memory, as `export` does that of a recipe.

    weights: what the model was loaded from, for the card. metrics: figures of the model, by default those
    that its training left beside the weights.

    Raises UserError for an output or a preprocessing that cannot be exported so, options that do not go with
    the model, pictures that are missing where something is learned of them, and an extra that is not
    installed; LookalikeError for an operation that ONNX does not have, and where a runtime does not agree.
    In either case `folder` is left as it was.
    """
    options = options or ExportOptions()
    module, preprocess = deployed_module(recipe, model), recipe_preprocess(recipe)
    shape = list(preprocess.image_shape or recipe.global_.image_shape)
    whole = _Network.of(module, preprocess, shape, options.input)
    # what resizes is put before the graph at the end: whatever the graph is converted to, it learns nothing
    resizes = options.input == "uint8_nhwc_any_size"
    network = _Network.of(module, preprocess, shape, "uint8_nhwc") if resizes else whole
    full = int(network.encode(network.noise[:1]).shape[1])
    notes = {}
    pictures = network.pictures(recipe, options.sample)
    if options.size is not None:
        notes["Size"] = to_fewer_numbers(
            module, recipe, options.size, full, network.encode, network.prepare, pictures
        )
    integers = _in_integers(network, module, str(weights or recipe.name))
    if integers is not None and (options.quantize or options.precision != "fp32"):
        raise UserError(f"{recipe.name}: its graph is in 8 bits as it is, since it was trained to round")
    replaced = Replaced.at(folder)
    with atomic_folder(folder) as part:
        write_weights(module, part / WEIGHTS)
        write_graph(network.module if integers is None else integers, network.example, part / GRAPH)
        written = ModelFolder(
            path=part,
            shape=shape,
            size=options.size or full,
            normalized=module.normalize,
            binarize=recipe.global_.feature_binarize,
            preprocess=preprocess.to_json(),
            fingerprint="",
            input=options.input,
            output=module.key,
            precision="float32" if integers is None else "int8",
            architecture=Architecture.of(recipe, module).to_json(),
            license=recipe.global_.license,
            notes=notes,
        )
        facts = Provenance.of(recipe, weights)
        if weights == recipe.weights and (changed := trained_otherwise(recipe, module.key)):
            facts = facts.of_another_model(changed)
        _take_down_origin(written, facts, metrics, full if options.converts else None)
        if options.quantize:
            to_8_bits(written, recipe, network.prepare, options.calibration)
        elif options.precision != "fp32":
            to_16_bits(written, options.precision)
        if resizes:
            put_before(Geometry(preprocess).eval(), part / GRAPH)
        if options.program:
            write_program(whole.module, whole.example, part / PROGRAM, any_size=resizes)
        limit = LIMITS[written.precision]
        if integers is not None:
            limit = Limit("largest_angle", _allowed(network))
        parity = prove(
            written,
            _resized_before(preprocess, network.encode) if resizes else network.encode,
            whole.pictures(recipe, options.sample) if resizes else pictures,
            limit,
            f"{folder} was left as it was",
            options.runtimes,
        )
        written.parity = parity.to_json()
        written.seal()
        replaced.keep_thresholds(written)
        written.write()
    replaced.warn(folder, written)
    logger.info(
        f"exported {module.key} ({written.size}, {written.precision}) to {folder}, as {parity.pictures} "
        "pictures show"
    )
    graph = parity.runtimes[0]
    return ExportResult(
        str(folder),
        written.size,
        written.fingerprint,
        graph.largest_difference if limit.measure == "largest_difference" else graph.largest_angle,
        written.precision,
        "bits" if written.binarize else "numbers",
        written.parity,
    )


@dataclass(frozen=True)
class _Network:
    """What is exported, for one kind of input, and what makes that input of a picture."""

    module: nn.Module
    encode: Encode
    prepare: Callable[[str], NDArray[Any]]
    noise: NDArray[Any]

    @classmethod
    def of(cls, module: Deployed, preprocess: Preprocess, shape: list[int], input: InputKind) -> _Network:
        taken = taking(module, input, preprocess).eval()
        prepare, noise = before_graph(preprocess, input), noise_batch(preprocess, shape, input)
        return cls(taken, encoder(taken), prepare, noise)

    @property
    def example(self) -> torch.Tensor:
        return torch.from_numpy(self.noise[:2])

    def pictures(self, recipe: Recipe, count: int) -> Pictures:
        """What it is tried on, see `trial_pictures`."""
        return trial_pictures(recipe, self.prepare, count, self.noise)


def _take_down_origin(
    written: ModelFolder, facts: Provenance, metrics: dict[str, float] | None, converted: int | None
) -> None:
    """Say where the model comes from, and its figures; `converted`: how many numbers the features have that
    these are of, where the graph gives others.
    """
    written.made_from, written.metrics = facts.made_from, metrics or facts.metrics
    if not written.metrics:
        return
    written.metrics_data = dict(facts.metrics_data)
    if converted is not None:
        told = f"in float32, with features of {converted} numbers: not this graph"
        written.metrics_data["model"] = told


def _resized_before(preprocess: Preprocess, encode: Encode) -> Encode:
    """What encodes pixels as the model was scored: OpenCV resizes them, one picture after another."""
    geometry = preprocess.split().pixels
    return lambda batch: encode(np.stack([geometry(picture) for picture in batch]))


def _in_integers(network: _Network, module: Deployed, name: str) -> nn.Module | None:
    """The module whose graph computes in whole numbers, of one that rounds; None of another."""
    rounds = module.model.structure.quantisation if module.model.structure is not None else None
    if rounds is None:
        return None
    exported = copy.deepcopy(network.module)
    inner = exported.module if isinstance(exported, FromPixels) else exported
    assert isinstance(inner, Deployed)
    make_integer(inner.model, rounds, name)
    return exported


def _allowed(network: _Network) -> float:
    """How far an int8 graph may be from the model that rounds; warns of harm.

    Two models that round independently are each `cost` from the exact one; the squares of independent angles
    add up, and 1 - cosine is half the square of a small angle.
    """
    exact = encoder(without_rounding(network.module))(network.noise)
    cost = float(angles(network.encode(network.noise), exact).max())
    if cost > INTEGER_PARITY:
        logger.warning(
            f"rounding to 8 bits moves the features by {cost:.2g} in cosine: the ranges do not fit the "
            "weights yet; train longer with Slim.quant, from trained weights"
        )
    return max(INTEGER_PARITY, 2 * cost)
