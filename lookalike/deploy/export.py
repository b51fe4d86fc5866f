"""From a recipe with weights to a model folder."""

from __future__ import annotations

import copy
import json
import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lookalike.core.errors import LookalikeError, UserError, missing_extra
from lookalike.core.files import atomic_folder
from lookalike.core.log import logger, warn_once
from lookalike.deploy.integer import make_integer
from lookalike.deploy.model_folder import GRAPH, MANIFEST, ModelFolder
from lookalike.deploy.preprocessing import recipe_preprocess
from lookalike.deploy.runtime import OnnxRuntime
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


class Deployed(nn.Module):
    """What is exported: pictures to one tensor.

    The output named by `Arch.infer_output_key`; softmax where `Arch.infer_add_softmax` is true; L2
    normalisation at the end of a feature where `Global.feature_normalize` is true.
    """

    def __init__(self, model: RecModel, key: str, softmax: bool, normalize: bool) -> None:
        super().__init__()
        self.model, self.key, self.softmax, self.normalize = model, key, softmax, normalize

    def forward(self, images: Tensor) -> Tensor:
        output = self.model.embed(images, self.key)
        if self.softmax:
            output = output.softmax(dim=1)
        if self.normalize:
            output = nn.functional.normalize(output, dim=1)
        return output


def output_key(recipe: Recipe) -> str:
    """The output that is exported: `Arch.infer_output_key`, by default the feature that is scored."""
    return str(recipe.network.get("infer_output_key") or recipe.global_.retrieval_feature_from)


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


def figures_of_checkpoint(weights: str) -> dict[str, float] | None:
    """The figures of the epoch that a checkpoint folder holds, None where it was not scored."""
    file = Path(weights) / "state" / "training.json"
    if not file.is_file():
        return None
    history = json.loads(file.read_text(encoding="utf-8"))["history"]
    return history[-1].get("eval") if history else None


def deployed_module(recipe: Recipe, model: RecModel) -> Deployed:
    """The module that a recipe exports.

    Heads that no output needs are dropped, branches fused where they can be.
    """
    arch = recipe.network
    scored, key = recipe.global_.retrieval_feature_from, output_key(recipe)
    if key in ("backbone", "features") and key != scored:
        warn_once(f"Arch.infer_output_key is '{key}', but Global.retrieval_feature_from scores '{scored}'")
    model = copy.deepcopy(model).float().cpu().eval()
    known = model.output_names()
    if key not in known:
        raise UserError(f"{recipe.name}: Arch.infer_output_key is '{key}'; this model has {', '.join(known)}")
    softmax = arch.get("infer_add_softmax")
    softmax = key == "logits" if softmax is None else bool(softmax)
    if softmax and key != "logits":
        warn_once(
            f"Arch.infer_add_softmax is true although the output is '{key}': its values will sum to one"
        )
    if key != "logits":
        model.head = None
    if hasattr(model, "fuse"):
        model.fuse()
    normalize = bool(recipe.global_.feature_normalize) and key != "logits" and not softmax
    return Deployed(model, key, softmax, normalize).eval()


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
    if weights:
        metrics = metrics or figures_of_checkpoint(weights)
    elif not (recipe.network.get("Backbone") or {}).get("pretrained"):
        raise UserError(
            f"{recipe.name}: nothing to export, the weights would be random; name them with "
            f"-o Global.pretrained_model={Path(settings.output_dir) / 'RecModel' / 'best_model'}"
        )
    return export_model(recipe, model, folder, weights, metrics)


def _figures_are_of(recipe: Recipe) -> str:
    """On which pictures the figures of a checkpoint were taken: those that chose it, where there are such."""
    if recipe.data is not None and recipe.data.Validation is not None:
        return "of DataLoader.Validation, on which best_model was chosen"
    return "of DataLoader.Eval"


def refuse_foreign_folder(folder: Path) -> None:
    """Raise UserError where an export would replace something else than an older model folder."""
    if not folder.exists():
        return
    inside = {path.name for path in folder.iterdir()} if folder.is_dir() else {folder.name}
    if foreign := sorted(inside - {MANIFEST, GRAPH, "README.md"}):
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
    measure, allowed = _difference, PARITY
    if rounds is not None:
        measure, allowed = _angle, _allowed(module, example, expected)
        make_integer(module.model, rounds, str(weights or recipe.name))
    with atomic_folder(folder) as part:
        _write_graph(module, example, part / GRAPH)
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
            license=recipe.global_.license,
            made_from={
                "recipe": recipe.name,
                "weights": str(weights) if weights else None,
                "figures": _figures_are_of(recipe) if metrics else None,
                "torch": torch.__version__,
            },
            metrics=metrics or {},
            precision="float32" if rounds is None else "int8",
        )
        written.fingerprint = written.computed_fingerprint()
        written.write()
    logger.info(
        f"exported {module.key} ({expected.shape[1]}, {written.precision}) to {folder}, largest difference "
        f"{difference:.1e}"
    )
    size = int(expected.shape[1])
    unit = "bits" if written.binarize else "numbers"
    return ExportResult(str(folder), size, written.fingerprint, difference, written.precision, unit)


def _write_graph(module: nn.Module, example: Tensor, file: Path) -> None:
    try:
        import onnx  # noqa: F401 (torch asks for it in the middle of an export)
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise missing_extra("onnx", "train", "export") from error
    noisy = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    before = [each.level for each in noisy]
    for each in noisy:
        each.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program: Any = torch.onnx.export(
                module,
                (example,),
                dynamo=True,
                input_names=["images"],
                output_names=["features"],
                dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
                verbose=False,
            )
            _forget_origin(program.model)
            program.save(str(file), external_data=False)
    except Exception as error:  # the exporter raises whatever a module's operations raise
        raise LookalikeError(
            f"the model could not be exported to ONNX: {str(error).strip().splitlines()[0]}"
        ) from error
    finally:
        for each, level in zip(noisy, before, strict=True):
            each.setLevel(level)


def _forget_origin(model: Any) -> None:
    """Remove what the exporter notes of each node: paths and lines of source files on this machine.

    Nobody else is to read them, and the same model is to have the same fingerprint wherever it was exported.
    """
    graphs = [model.graph, *(function.graph for function in model.functions.values())]
    for graph in graphs:
        for noted in (graph, *graph.all_nodes(), *graph.inputs, *graph.outputs, *graph.initializers.values()):
            noted.metadata_props.clear()
            noted.doc_string = None
        for node in graph.all_nodes():
            for value in node.outputs:
                value.metadata_props.clear()
                value.doc_string = None
    model.metadata_props.clear()


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
