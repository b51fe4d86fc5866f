"""Fewer numbers a picture: a feature projected onto the directions in which features vary most."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.core.errors import UserError, missing_extra
from lookalike.core.files import atomic_file
from lookalike.retrieval.blocks import chunks_of

SMALLEST = 32
"""The smallest size of the table that `sizes_to_tell` suggests."""


@dataclass(frozen=True)
class Reduction:
    """y = P x, scaled to length 1 where `normalise` says so; P (d, D) has orthogonal rows of length 1.

    `learned_on`: from how many features; 0 for the first numbers of a feature as they are, which is what a
    model is reduced to that was trained with a Matryoshka loss (Kusupati et al.,
    https://arxiv.org/abs/2205.13147).
    """

    projection: NDArray[np.float64]
    normalise: bool
    learned_on: int = 0

    @classmethod
    def pca(cls, features: Any, normalise: bool) -> Reduction:
        """All D directions of features (N, D), those that hold most first.

        They are the eigenvectors of Σ x xᵀ: no mean is taken off, so that what is kept of an inner product
        is as much as can be, and all D directions keep every similarity as it is. Learn it on training
        pictures, never on those that are scored. Raises UserError where there are fewer features than
        numbers in one.
        """
        count, width = features.shape
        if count < width:
            raise UserError(
                f"a feature of {width} numbers is reduced by what training features vary in: {count} of them "
                f"are too few, give at least {width}"
            )
        moments = np.zeros((width, width))
        for part in chunks_of(features):
            piece = np.asarray(features[part], dtype=np.float64)
            moments += piece.T @ piece
        directions = np.linalg.eigh(moments)[1].T[::-1]
        # an eigenvector may point either way: the largest entry says which, so that results repeat
        signs = np.sign(directions[np.arange(width), np.abs(directions).argmax(axis=1)])
        return cls(directions * signs[:, None], normalise, count)

    @classmethod
    def prefix(cls, width: int, normalise: bool) -> Reduction:
        """The first numbers of a feature of `width`."""
        return cls(np.eye(width), normalise)

    @property
    def size(self) -> int:
        return len(self.projection)

    def to(self, size: int) -> Reduction:
        """The same, with the first `size` directions. Raises UserError where there are not so many."""
        if not 1 <= size <= self.size:
            raise UserError(f"a feature of {self.size} numbers has no {size} dimensions")
        return Reduction(self.projection[:size], self.normalise, self.learned_on)

    def apply(self, features: NDArray[Any]) -> NDArray[np.float32]:
        """(N, D) -> (N, d)."""
        found = np.asarray(features, dtype=np.float64) @ self.projection.T
        if self.normalise:
            found /= np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
        return found.astype(np.float32)


def sizes_to_tell(full: int, asked: int) -> list[int]:
    """Powers of two from 32 below `full`, the one that is asked for, and `full`."""
    powers = [2**power for power in range(SMALLEST.bit_length() - 1, full.bit_length()) if 2**power < full]
    return sorted({*powers, asked, full})


def figures_by_size(
    reduction: Reduction,
    sizes: Sequence[int],
    score: Callable[[Callable[[NDArray[Any]], NDArray[np.float32]]], Mapping[str, float]],
) -> dict[int, dict[str, float]]:
    """What a model scores at each size.

    `score` gets the function that reduces features (N, D) and gives figures by their names, such as recall@1
    and mAP of query and gallery features after it.
    """
    return {size: dict(score(reduction.to(size).apply)) for size in sizes}


def reduce_graph(graph: Path, out: Path, reduction: Reduction) -> None:
    """Write a graph that ends in a reduction behind what `graph` gives, under the same name.

    Raises UserError where the graph gives features of another size, and where `onnx` is missing.
    """
    try:
        import onnx
        from onnx import TensorProto, helper, numpy_helper
    except ImportError as error:
        raise missing_extra("onnx", "train", "reducing a graph's features") from error
    model = onnx.load(graph)
    (given,) = model.graph.output
    batch, width = given.type.tensor_type.shape.dim
    if width.dim_value != reduction.projection.shape[1]:
        raise UserError(
            f"{graph} gives {width.dim_value} numbers and the reduction was learned on features of "
            f"{reduction.projection.shape[1]}: they must come from the same model"
        )
    name, whole = given.name, f"{given.name}_whole"
    for node in model.graph.node:
        for names in (node.input, node.output):
            for position, each in enumerate(names):
                if each == name:
                    names[position] = whole
    add = model.graph.node.append
    weight = numpy_helper.from_array(reduction.projection.T.astype(np.float32), "reduction")
    model.graph.initializer.append(weight)
    ends_in = f"{name}_reduced" if reduction.normalise else name
    add(helper.make_node("MatMul", [whole, weight.name], [ends_in], name="reduce"))
    if reduction.normalise:
        axes = numpy_helper.from_array(np.array([1]), "reduction_axes")
        least = numpy_helper.from_array(np.float32(1e-12), "reduction_least")
        model.graph.initializer.extend([axes, least])
        add(helper.make_node("ReduceL2", [ends_in, axes.name], ["reduced_length"], name="length"))
        add(helper.make_node("Max", ["reduced_length", least.name], ["reduced_safe"], name="safe_length"))
        add(helper.make_node("Div", [ends_in, "reduced_safe"], [name], name="normalise_reduced"))
    size = [batch.dim_param or batch.dim_value, reduction.size]
    given.CopyFrom(helper.make_tensor_value_info(name, TensorProto.FLOAT, size))
    del model.graph.value_info[:]  # none is needed, and that of the renamed value would be left behind
    with atomic_file(out) as file:
        file.write(model.SerializeToString())
