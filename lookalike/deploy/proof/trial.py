"""The proof of a model folder, before it is put in place: each runtime embeds pictures, as PyTorch does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lookalike.core.errors import LookalikeError, UserError
from lookalike.core.log import logger
from lookalike.deploy.architecture import load_torch
from lookalike.deploy.binary import ONE_ABOVE
from lookalike.deploy.graph_input import InputKind
from lookalike.deploy.model_folder import PROGRAM, ModelFolder
from lookalike.deploy.proof.parity import LIMITS, Limit, Parity, compare
from lookalike.deploy.proof.pictures import Encode, Pictures
from lookalike.deploy.proof.samples import evaluation_sample
from lookalike.deploy.provenance import data_of
from lookalike.deploy.runtimes.runtime import OnnxRuntime, open_runtime
from lookalike.evaluation.recipe_sets import evaluation_blocks
from lookalike.images import Preprocess
from lookalike.recipe import Recipe


def encoder(module: nn.Module) -> Encode:
    """A module as what takes and gives arrays."""

    def encode(batch: NDArray[Any]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return np.asarray(module(torch.from_numpy(batch)).numpy(), dtype=np.float32)

    return encode


def noise_batch(preprocess: Preprocess, shape: list[int], input: InputKind) -> NDArray[Any]:
    """Three pictures (C, H, W) of pixels by chance, as the graph takes them; of any size, larger ones."""
    _, height, width = shape
    if input == "uint8_nhwc_any_size":
        height, width = 2 * height + 1, 3 * width
    pixels = np.random.default_rng(0).integers(0, 256, (3, height, width, 3), dtype=np.uint8)
    if input != "float32_nchw":
        return pixels
    try:
        return preprocess.split().arithmetic(pixels)
    except UserError:  # a chain whose end is not arithmetic alone: any numbers around zero
        return np.random.default_rng(0).standard_normal((3, *shape)).astype(np.float32)


def trial_pictures(
    recipe: Recipe, prepare: Callable[[str], NDArray[Any]], count: int, noise: NDArray[Any]
) -> Pictures:
    """Pictures of the evaluation set of a recipe; noise where they are not there, which is told."""
    try:
        sample = evaluation_sample(recipe, count)
        named = data_of(evaluation_blocks(recipe), "Eval")
    except UserError as error:
        logger.warning(f"the model folder is tried on noise, which no recall can be told of: {error}")
        return Pictures.of_noise(noise, str(error))
    lists = "; ".join(f"{name}: {pictures}" for name, pictures in named.items())
    return Pictures.of_records(sample, prepare, lists)


def prove(
    written: ModelFolder,
    model: Encode,
    pictures: Pictures,
    limit: Limit,
    consequence: str,
    further: Sequence[str] = (),
) -> Parity:
    """Compare the runtimes of a folder with the module that it was written of.

    `limit` is that of the graph, in onnxruntime and in `further` runtimes; what PyTorch loads is to be the
    same but for rounding. Raises LookalikeError, which ends in the `consequence`, for the first that is not
    within.
    """
    runtimes: dict[str, Encode] = {"onnxruntime": OnnxRuntime(written.graph_file)}
    runtimes |= {name: open_runtime(written, name) for name in further}
    runtimes["torch"] = encoder(load_torch(written))
    if (written.path / PROGRAM).is_file():
        # this process wrote it a moment ago: what it unpickles is our own
        runtimes["torch.export"] = encoder(torch.export.load(written.path / PROGRAM).module())
    code = None
    if written.binarize is not None:
        one_above = ONE_ABOVE[written.binarize]

        def code(features: NDArray[np.float32]) -> NDArray[np.uint8]:
            return (features > one_above).astype(np.uint8)

    parity = compare(pictures, model, runtimes, code)
    for each in parity.runtimes:
        allowed = LIMITS["float32"] if each.runtime.startswith("torch") else limit
        if wrong := each.check(allowed):
            raise LookalikeError(f"the model folder in {each.runtime} {wrong}; {consequence}")
    return parity
